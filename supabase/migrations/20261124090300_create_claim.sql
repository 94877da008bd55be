-- Claim, and what a holder does while it holds: start, note the run, renew.
--
-- Sequential scans are off in the verbs of a holder and in the trigger that admits tasks. A session keeps its plans, and
-- while the tables are empty a plan that reads them from end to end looks best: it would go on doing so in a full queue,
-- until autovacuum comes by (a claim then took milliseconds). Every statement here has an index that serves it.

-- Low-water marks: no ready task of a priority has a smaller order_key than its highest mark. A claim starts its scan
-- there and so never walks the dead entries of the tasks claimed before, which nothing can remove while somebody holds an
-- old snapshot (a dump, a report, a lagging replica). For the same reason a mark is added above the last one, never
-- updated: the newest is the first that a claim meets. Without a mark moving, claims are only as slow as without marks.
create table private.cursors (
  priority integer not null,
  low      bigint not null,
  primary key (priority, low)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
-- Tasks that became ready late, below the mark of their priority: a mark counts as no higher than these.
create table private.latecomers (
  priority  integer not null,
  order_key bigint not null,
  primary key (priority, order_key)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
-- All keys up to `settled` belong to transactions that have ended. `drawn` will, once every transaction older than
-- `xid` has ended: each has a number before it draws a key.
create table private.horizon (
  singleton boolean not null primary key default true check (singleton),
  settled   bigint not null default 0,
  drawn     bigint not null default 0,
  xid       xid8 not null default '0'
);
insert into private.horizon default values;
alter table private.cursors enable row level security;
alter table private.cursors force row level security;
alter table private.latecomers enable row level security;
alter table private.latecomers force row level security;
alter table private.horizon enable row level security;
alter table private.horizon force row level security;

-- Called for each task that becomes ready later than at its enqueue. Marks do not move until this transaction ends.
create function private.ready_late(p_priority integer, p_order_key bigint) returns void language plpgsql set search_path = '' as $$
begin
  perform pg_advisory_xact_lock_shared(7205, 1);
  insert into private.latecomers (priority, order_key)
    select p_priority, p_order_key
    where p_order_key < (select max(c.low) from private.cursors c where c.priority = p_priority)
      and not exists (select from private.latecomers l where l.priority = p_priority and l.order_key <= p_order_key)
    on conflict do nothing;
end $$;

-- The highest priority below p_priority that has anything ready, and its mark as it counts now.
create function private.next_mark(p_priority integer, out priority integer, out low bigint)
language plpgsql stable set search_path = '' as $$
begin
  select c.priority, least(c.low, (select min(l.order_key) from private.latecomers l where l.priority = c.priority))
    into next_mark.priority, next_mark.low
    from private.cursors c
    where c.priority = (
      select q.priority from private.queue q where q.place = 'ready' and (-q.priority) > -p_priority
      order by (-q.priority), q.order_key limit 1)
    order by c.low desc limit 1;
end $$;

-- Moves the marks up to what is ready now. Gives up at once while somebody is making old tasks ready.
create function private.move_cursors() returns void language plpgsql set search_path = '' as $$
declare
  v_horizon private.horizon;
  v_priority integer := 2147483647;
  v_old bigint;
  v_low bigint;
begin
  if not pg_try_advisory_xact_lock(7205, 1) then
    return;
  end if;
  select * into v_horizon from private.horizon;
  if pg_snapshot_xmin(pg_current_snapshot()) >= v_horizon.xid then
    update private.horizon set settled = drawn, drawn = (select last_value from private.enqueue_order),
      xid = pg_snapshot_xmax(pg_current_snapshot())
      returning * into v_horizon;
  end if;
  loop
    select m.priority, m.low into v_priority, v_low from private.next_mark(v_priority) m;
    exit when v_priority is null;
    v_old := (select max(c.low) from private.cursors c where c.priority = v_priority);
    v_low := greatest(v_low, least(v_horizon.settled + 1, (
      select q.order_key from private.queue q
      where q.place = 'ready' and (-q.priority) = -v_priority and q.order_key >= v_low
      order by q.order_key limit 1)));
    if v_low > v_old then
      insert into private.cursors (priority, low) values (v_priority, v_low);
      delete from private.cursors c where c.priority = v_priority and c.low = v_old;
    elsif v_low < v_old then
      insert into private.latecomers (priority, order_key) values (v_priority, v_low) on conflict do nothing;
    end if;
    delete from private.latecomers l where l.priority = v_priority and l.order_key < v_low;
  end loop;
end $$;

-- Delayed tasks whose moment has come join the ready ones; usually there is none, seen by one probe of queue_delayed.
create function private.promote_due(p_now timestamptz) returns void language plpgsql set search_path = '' as $$
declare
  v_due record;
begin
  for v_due in
    update private.queue q set place = 'ready', scheduled_at = null
      where q.task_id = any (array(
        select d.task_id from private.queue d where d.place = 'delayed' and d.scheduled_at <= p_now
        order by d.scheduled_at limit 1000 for update skip locked))
      returning q.priority, q.order_key
  loop
    perform private.ready_late(v_due.priority, v_due.order_key);
  end loop;
end $$;

-- Takes the next ready task, by one of four ways to look; null when there is none that nobody else is taking. Finding,
-- locking and taking it are one statement each, with a constant limit and one index that can serve it: so its plan is
-- made once a session (with a variable limit, or `p_user is null or …`, PostgreSQL plans every call anew). All but
-- take_among start at the mark of each priority; p_priority and p_low: the first.
create function private.take_next(p_user_id uuid, p_types text[], p_priority integer, p_low bigint, p_token uuid, p_holder text)
returns uuid language plpgsql set search_path = '' as $$
declare
  v_priority integer := p_priority;
  v_low bigint := p_low;
  v_type text;
  v_id uuid;
begin
  while v_priority is not null loop
    if p_user_id is not null then
      v_id := private.take_of_user(p_user_id, p_types, v_priority, v_low, p_token, p_holder);
    elsif cardinality(p_types) = 1 then
      v_id := private.take_of_type(p_types[1], v_priority, v_low, p_token, p_holder);
    elsif p_types is not null then
      -- The oldest of all ready tasks usually is of a wanted type: then that type is the one, and the others need no look.
      v_type := (
        select r.task_type from private.queue r
        where r.place = 'ready' and (-r.priority) = -v_priority and r.order_key >= v_low
        order by r.order_key limit 1);
      if v_type = any (p_types) then
        v_id := private.take_of_type(v_type, v_priority, v_low, p_token, p_holder);
      end if;
      if v_id is null then
        v_id := private.take_of_types(p_types, v_priority, v_low, p_token, p_holder);
      end if;
    else
      update private.queue q set place = 'held', claim_token = p_token, held_by = p_holder, start_request_id = null
        where q.task_id = (
          select r.task_id from private.queue r
          where r.place = 'ready' and (-r.priority) = -v_priority and r.order_key >= v_low
          order by r.order_key limit 1 for update skip locked)
        returning q.task_id into v_id;
    end if;
    exit when v_id is not null;
    select m.priority, m.low into v_priority, v_low from private.next_mark(v_priority) m;
  end loop;
  return v_id;
end $$;

create function private.take_of_type(p_type text, p_priority integer, p_low bigint, p_token uuid, p_holder text)
returns uuid language plpgsql set search_path = '' as $$
declare
  v_id uuid;
begin
  update private.queue q set place = 'held', claim_token = p_token, held_by = p_holder, start_request_id = null
    where q.task_id = (
      select r.task_id from private.queue r
      where r.place = 'ready' and r.task_type = p_type and r.priority = p_priority and r.order_key >= p_low
      order by r.order_key limit 1 for update skip locked)
    returning q.task_id into v_id;
  return v_id;
end $$;

-- Locks within the type alone whose head is the oldest: a lock on the heads of all types would make other claims pass
-- over work that this one does not take. If others are taking all of that type, the next oldest.
create function private.take_of_types(p_types text[], p_priority integer, p_low bigint, p_token uuid, p_holder text)
returns uuid language plpgsql set search_path = '' as $$
declare
  v_types text[] := p_types;
  v_oldest text;
  v_id uuid;
begin
  loop
    select o.task_type into v_oldest from private.oldest_of(v_types, p_priority, p_low) o;
    exit when v_oldest is null;
    v_id := private.take_of_type(v_oldest, p_priority, p_low, p_token, p_holder);
    exit when v_id is not null;
    v_types := array_remove(v_types, v_oldest);
  end loop;
  return v_id;
end $$;

-- Which of these types has the oldest ready task, and the key below which it has all that is ready of them.
-- A loop and no join: the plan of a join over an array depends on its length, so it would be made anew for each call.
create function private.oldest_of(p_types text[], p_priority integer, p_low bigint, out task_type text, out below bigint)
language plpgsql stable set search_path = '' as $$
declare
  v_type text;
  v_key bigint;
  v_least bigint := 9223372036854775807;
begin
  below := v_least;
  foreach v_type in array p_types loop
    select r.order_key into v_key from private.queue r
      where r.place = 'ready' and r.task_type = v_type and r.priority = p_priority and r.order_key >= p_low
      order by r.order_key limit 1;
    if v_key < v_least then
      below := v_least;
      v_least := v_key;
      task_type := v_type;
    elsif v_key < below and v_type <> oldest_of.task_type then
      below := v_key;
    end if;
  end loop;
end $$;

-- Claims the next ready tasks of a priority, at most p_most: as many as stand side by side, so that none is taken before
-- an older one of these types. What claim_tasks does one by one, in two statements: ten cost what four cost there.
create function private.claim_many(
  p_worker_id text, p_most integer, p_types text[], p_priority integer, p_low bigint, p_holder text, p_now timestamptz,
  p_lease double precision, p_start boolean, out ids uuid[], out claims json[], out were_requested boolean
) language plpgsql set search_path = '' as $$
declare
  v_type text;
  v_below bigint;
begin
  if p_types is null then
    ids := array(
      select r.task_id from private.queue r
      where r.place = 'ready' and (-r.priority) = -p_priority and r.order_key >= p_low
      order by r.order_key limit p_most for update skip locked);
  else
    select o.task_type, o.below into v_type, v_below from private.oldest_of(p_types, p_priority, p_low) o;
    ids := array(
      select r.task_id from private.queue r
      where r.place = 'ready' and r.task_type = v_type and r.priority = p_priority and r.order_key >= p_low
        and r.order_key < v_below
      order by r.order_key limit p_most for update skip locked);
  end if;
  with taken as (
      update private.queue q set place = 'held', claim_token = gen_random_uuid(), held_by = p_holder, start_request_id = null
        where q.task_id = any (ids) returning q.task_id, q.claim_token
    ), claimed as (
      update public.tasks t set status = 'In Progress', attempts = attempts + 1, worker_id = p_worker_id,
          lease_expires_at = p_now + make_interval(secs => p_lease), scheduled_at = null, tick = null, flow_run_id = null,
          generation_started_at = case when p_start then p_now end, closed_token = null, lost_token = null, updated_at = p_now
        from taken where t.id = taken.task_id
        returning t.order_key, private.claim_json(t, taken.claim_token) as claim,
          exists (select from private.claim_requests r where r.task_id = t.id) as was_requested
    )
    select array_agg(c.claim order by c.order_key), bool_or(c.was_requested) into claims, were_requested from claimed c;
end $$;

create function private.take_of_user(p_user_id uuid, p_types text[], p_priority integer, p_low bigint, p_token uuid, p_holder text)
returns uuid language plpgsql set search_path = '' as $$
declare
  v_id uuid;
begin
  if p_types is null then
    update private.queue q set place = 'held', claim_token = p_token, held_by = p_holder, start_request_id = null
      where q.task_id = (
        select r.task_id from private.queue r
        where r.place = 'ready' and r.user_id = p_user_id and r.priority = p_priority and r.order_key >= p_low
        order by r.order_key limit 1 for update skip locked)
      returning q.task_id into v_id;
  else
    update private.queue q set place = 'held', claim_token = p_token, held_by = p_holder, start_request_id = null
      where q.task_id = (
        select r.task_id from private.queue r
        where r.place = 'ready' and r.user_id = p_user_id and r.priority = p_priority and r.order_key >= p_low
          and r.task_type = any (p_types)
        order by r.order_key limit 1 for update skip locked)
      returning q.task_id into v_id;
  end if;
  return v_id;
end $$;

create function private.take_among(p_ids uuid[], p_user_id uuid, p_types text[], p_token uuid, p_holder text)
returns uuid language plpgsql set search_path = '' as $$
declare
  v_id uuid;
begin
  update private.queue q set place = 'held', claim_token = p_token, held_by = p_holder, start_request_id = null
    where q.task_id = (
      select r.task_id from private.queue r
      where r.task_id = any (p_ids) and r.place = 'ready'
        and (p_user_id is null or r.user_id = p_user_id) and (p_types is null or r.task_type = any (p_types))
      order by r.priority desc, r.order_key limit 1 for update skip locked)
    returning q.task_id into v_id;
  return v_id;
end $$;

-- Takes up to p_limit eligible tasks, highest priority first, then oldest, and answers
-- [{task, attempt, claim_token, lease_expires_at}] (I1, I4). p_start starts them in the same step, for old clients.
-- The same request of the same worker again answers with the claims it made that still stand, and takes no other (I3).
-- Refuses LT001.
--
-- This and complete_task are what the queue does all day. A statement costs 6 to 10 µs before it touches a row (and
-- `perform` is a statement), so both say much in few.
create function public.claim_tasks(
  p_worker_id text, p_limit integer default 1, p_task_types text[] default null, p_task_ids text[] default null,
  p_request_id text default null, p_lease double precision default 30, p_start boolean default false,
  p_user_id uuid default null, p_holder text default null
) returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_now timestamptz := private.now();
  v_user uuid := private.acting_user(p_user_id);
  v_holder text := private.holder(p_holder, v_user);
  -- Everybody names requests for himself.
  v_request text := v_holder || ' ' || p_request_id;
  v_is_sound boolean not null := private.check_seconds('lease', p_lease)
    and (p_request_id is null or private.check_text('request_id', p_request_id, 200));
  v_was_made boolean;
  v_is_due boolean;
  v_is_known boolean;
  v_priority integer;
  v_low bigint;
  v_id uuid;
  v_token uuid;
  v_claim json;
  v_ids uuid[];
  v_claims json[];
  v_was_requested boolean;
  v_pulse bigint;
begin
  -- Two deliveries of one request wait for each other; without a request the condition is null.
  if not pg_try_advisory_xact_lock(7204, hashtext(v_request)) then
    perform pg_advisory_xact_lock(7204, hashtext(v_request));
  end if;
  -- All that has to be known first.
  select exists (select from private.claim_requests r where r.request_id = v_request),
      exists (select from private.queue q where q.place = 'delayed' and q.scheduled_at <= v_now),
      exists (select from public.workers w where w.id = p_worker_id and w.user_id is not distinct from v_user),
      top.priority, top.low
    into v_was_made, v_is_due, v_is_known, v_priority, v_low
    from (select) as once left join lateral (
      select c.priority, least(c.low, (select min(l.order_key) from private.latecomers l where l.priority = c.priority)) as low
      from private.cursors c order by c.priority desc, c.low desc limit 1) top on true;
  if not v_is_known then
    perform private.check_worker_id(p_worker_id);
  end if;
  if v_was_made then
    return private.claims_of_request(v_request, p_worker_id, v_user);
  elsif v_is_due then
    perform private.promote_due(v_now);
    select m.priority, m.low into v_priority, v_low from private.next_mark(2147483647) m;  -- one of these may lie below
  end if;
  if p_limit > 1 and p_task_ids is null and v_user is null then
    select m.ids, m.claims, m.were_requested into v_ids, v_claims, v_was_requested from private.claim_many(
      p_worker_id, p_limit, p_task_types, v_priority, v_low, v_holder, v_now, p_lease, p_start) m;
  end if;
  for i in coalesce(cardinality(v_ids), 0) + 1 .. coalesce(p_limit, 1) loop
    v_token := gen_random_uuid();
    v_id := case when p_task_ids is null then private.take_next(v_user, p_task_types, v_priority, v_low, v_token, v_holder)
      else private.take_among(private.as_uuids(p_task_ids), v_user, p_task_types, v_token, v_holder) end;
    exit when v_id is null;
    update public.tasks t set status = 'In Progress', attempts = attempts + 1, worker_id = p_worker_id,
        lease_expires_at = v_now + make_interval(secs => p_lease), scheduled_at = null, tick = null, flow_run_id = null,
        generation_started_at = case when p_start then v_now end, closed_token = null, lost_token = null, updated_at = v_now
      where t.id = v_id
      returning json_build_object('task', row_to_json(t), 'attempt', t.attempts, 'claim_token', v_token,
        'lease_expires_at', t.lease_expires_at),
        v_was_requested or exists (select from private.claim_requests r where r.task_id = t.id)
      into v_claim, v_was_requested;
    v_ids := v_ids || v_id;
    v_claims := v_claims || v_claim;
  end loop;
  if v_claims is null then
    return '[]';
  end if;
  if v_request is not null then
    insert into private.claim_requests (task_id, request_id, worker_id)
      select each, v_request, p_worker_id from unnest(v_ids) as each
      on conflict (task_id) do update set request_id = excluded.request_id, worker_id = excluded.worker_id;
  elsif v_was_requested then
    delete from private.claim_requests where task_id = any (v_ids);  -- of earlier claims
  end if;
  if not v_is_known then
    insert into public.workers (id, user_id, last_heartbeat) values (p_worker_id, v_user, v_now) on conflict do nothing;
  end if;
  if random() < 0.02 then
    perform private.move_cursors();
  end if;
  v_pulse := nextval('private.pulse');
  return array_to_json(v_claims);
end $$;

create function private.forget_requests() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  delete from private.claim_requests r using gone where r.task_id = gone.id;
  return null;
end $$;
create trigger forget_requests after delete on public.tasks referencing old table as gone
  for each statement execute function private.forget_requests();

create function private.as_uuids(p_texts text[]) returns uuid[] language sql immutable set search_path = '' as $$
  select array(select private.as_uuid(each) from unnest(p_texts) as each)
$$;

create function private.claim_json(t public.tasks, p_token uuid) returns json language sql stable set search_path = '' as $$
  select pg_catalog.json_build_object('task', pg_catalog.row_to_json(t), 'attempt', t.attempts, 'claim_token', p_token,
    'lease_expires_at', t.lease_expires_at)
$$;

-- The claims that a request made and that no start has taken over, if the same worker asks.
create function private.claims_of_request(p_request_id text, p_worker_id text, p_user_id uuid)
returns json language sql stable set search_path = '' as $$
  select coalesce(json_agg(private.claim_json(t, q.claim_token) order by t.priority desc, t.order_key), '[]')
  from private.claim_requests r
  join private.queue q on q.task_id = r.task_id and q.place = 'held' and q.start_request_id is null
  join public.tasks t on t.id = r.task_id
  where r.request_id = p_request_id and r.worker_id = p_worker_id and t.worker_id = p_worker_id
    and (p_user_id is null or t.user_id = p_user_id)
$$;

-- The row of a task that the caller may see. Refuses LT002: no such task, or not yours, which look the same (I5).
create function private.known(p_task_id text, p_user_id uuid) returns public.tasks language plpgsql stable set search_path = '' as $$
declare
  t public.tasks;
begin
  select * into t from public.tasks x where x.id = private.as_uuid(p_task_id) and (p_user_id is null or x.user_id = p_user_id);
  if not found then
    perform private.refuse('LT002', format('There is no task %s.', coalesce(quote_literal(left(p_task_id, 80)), 'null')),
      'Check the id; it may have been pruned.', jsonb_build_object('task_id', p_task_id));
  end if;
  return t;
end $$;

create function private.refuse_stale(t public.tasks, p_why text) returns void language plpgsql set search_path = '' as $$
begin
  perform private.refuse('LT006', format('%s Task %s is %s, attempt %s, worker %s.', p_why, t.id, t.status, t.attempts,
      coalesce(t.worker_id, 'None')), 'Stop working on it.', jsonb_build_object('task_id', t.id, 'status', t.status));
end $$;

create function private.refuse_ended(t public.tasks) returns void language plpgsql set search_path = '' as $$
begin
  perform private.refuse('LT007', format('Task %s is %s.', t.id, t.status),
    'Its end stands; retry a failed or cancelled task to run it again.', jsonb_build_object('task_id', t.id, 'status', t.status));
end $$;

-- A task's place in the queue, locked. Null when it is Complete, or none that the caller may see.
create function private.lock_place(p_task_id text, p_user_id uuid) returns private.queue language plpgsql set search_path = '' as $$
declare
  q private.queue;
begin
  select * into q from private.queue x
    where x.task_id = private.as_uuid(p_task_id) and (p_user_id is null or x.user_id = p_user_id) for update;
  return q;
end $$;

-- Locks a task's place in the queue, and first its owner if what happens to it may happen to others. All that the
-- caller reads after this is current. Null when it is Complete. Refuses LT002.
create function private.locked(p_task_id text, p_user_id uuid) returns private.queue language plpgsql set search_path = '' as $$
declare
  v_owner uuid;
  q private.queue;
begin
  select x.user_id into v_owner from private.queue x
    where x.task_id = private.as_uuid(p_task_id) and x.has_kin and (p_user_id is null or x.user_id = p_user_id);
  if found then
    perform private.lock_owner(v_owner);
  end if;
  q := private.lock_place(p_task_id, p_user_id);
  if q.task_id is null then
    perform private.known(p_task_id, p_user_id);
  end if;
  return q;
end $$;

-- Whether this caller holds the task: by its token, or for a caller that shows none, because it is the one who claimed.
-- The shared service key names nobody, so without a token it counts in the first attempt only.
create function private.is_held_by(q private.queue, t public.tasks, p_token text, p_holder text)
returns boolean language plpgsql immutable set search_path = '' as $$
begin
  if q.place is distinct from 'held' then
    return false;
  elsif p_token is not null then
    return q.claim_token::text = lower(p_token);
  end if;
  return p_holder is not null and q.held_by = p_holder and (p_holder <> 'service' or t.attempts = 1);
end $$;

-- The run takes over a claim: a fresh token, the running lease, the start time. The first one wins; the same request
-- again answers with the same claim. Refuses LT006 (another attempt, started already, not held), LT002, LT001.
create function public.start_task(
  p_task_id text, p_attempt integer, p_worker_id text, p_flow_run_id uuid default null, p_request_id text default null,
  p_lease double precision default 60, p_user_id uuid default null, p_holder text default null
) returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_now timestamptz := private.now();
  v_user uuid := private.acting_user(p_user_id);
  q private.queue;
  t public.tasks;
begin
  perform private.check_worker_id(p_worker_id);
  perform private.check_seconds('lease', p_lease);
  if p_request_id is not null then perform private.check_text('request_id', p_request_id, 200); end if;
  q := private.lock_place(p_task_id, v_user);
  t := private.known(p_task_id, v_user);
  if q.place is distinct from 'held' or t.attempts is distinct from p_attempt then
    perform private.refuse_stale(t, format('Attempt %s does not hold it.', p_attempt));
  elsif t.generation_started_at is not null then
    if q.start_request_id = p_request_id and t.worker_id = p_worker_id then
      return private.claim_json(t, q.claim_token);
    end if;
    perform private.refuse_stale(t, format('Attempt %s was started already.', p_attempt));
  end if;
  if not exists (select from public.workers w where w.id = p_worker_id and w.user_id is not distinct from v_user) then
    insert into public.workers (id, user_id, last_heartbeat) values (p_worker_id, v_user, v_now) on conflict do nothing;
  end if;
  update private.queue set claim_token = gen_random_uuid(), held_by = private.holder(p_holder, v_user),
      start_request_id = coalesce(p_request_id, gen_random_uuid()::text)
    where task_id = t.id returning * into q;
  update public.tasks set worker_id = p_worker_id, flow_run_id = coalesce(p_flow_run_id, flow_run_id),
      lease_expires_at = v_now + make_interval(secs => p_lease), generation_started_at = v_now, updated_at = v_now
    where id = t.id returning * into t;
  perform nextval('private.pulse');
  return private.claim_json(t, q.claim_token);
end $$;

-- Notes the flow run that was created for a claim, and gives it p_lease seconds from now to start. Refuses LT006, LT002.
create function public.dispatched_task(
  p_task_id text, p_claim_token text, p_flow_run_id uuid, p_lease double precision default 120, p_user_id uuid default null
) returns void language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_now timestamptz := private.now();
  v_user uuid := private.acting_user(p_user_id);
  q private.queue := private.lock_place(p_task_id, v_user);
  t public.tasks := private.known(p_task_id, v_user);
begin
  if not private.is_held_by(q, t, p_claim_token, null) then
    perform private.refuse_stale(t, 'The claim token does not hold it.');
  elsif p_flow_run_id is null then
    perform private.refuse_field('flow_run_id', null, 'Use a UUID.');
  end if;
  perform private.check_seconds('lease', p_lease);
  update public.tasks set flow_run_id = p_flow_run_id, lease_expires_at = v_now + make_interval(secs => p_lease),
    updated_at = v_now where id = t.id;
  perform nextval('private.pulse');
end $$;

-- Extends the lease from now and reports progress; a tick lower than the stored one is ignored. p_message is what old
-- clients read in output_location meanwhile; from one whose task has children by then it means what wait_task means,
-- which such a client does not know. A holder whose task was cancelled is told so and gets no lease.
-- Refuses LT006, LT002, LT001.
create function public.renew_task(
  p_task_id text, p_claim_token text default null, p_lease double precision default 60, p_tick integer default null,
  p_max_ticks integer default null, p_message text default null, p_holder text default null, p_user_id uuid default null
) returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_now timestamptz := private.now();
  v_user uuid := private.acting_user(p_user_id);
  q private.queue;
  t public.tasks;
begin
  perform private.check_seconds('lease', p_lease);
  if p_tick is not null then perform private.check_integer('tick', p_tick, 0, 2147483647); end if;
  if p_max_ticks is not null then perform private.check_integer('max_ticks', p_max_ticks, 1, 2147483647); end if;
  if p_message is null then
    q := private.lock_place(p_task_id, v_user);
  else
    q := private.locked(p_task_id, v_user);
  end if;
  t := private.known(p_task_id, v_user);
  if t.status = 'Cancelled' and t.lost_token::text = lower(p_claim_token) then
    return json_build_object('lease_expires_at', null, 'cancelled', true);
  elsif not private.is_held_by(q, t, p_claim_token, private.holder(p_holder, v_user)) then
    perform private.refuse_stale(t, 'The claim token does not hold it.');
  elsif p_message is not null and exists (select from public.tasks c where c.parent_id = t.id) then
    perform public.wait_task(p_task_id, q.claim_token::text);
    return json_build_object('lease_expires_at', null, 'cancelled', false);
  end if;
  update public.tasks set lease_expires_at = v_now + make_interval(secs => p_lease), tick = greatest(tick, p_tick),
      max_ticks = coalesce(p_max_ticks, max_ticks), output_location = coalesce(nullif(left(p_message, 16000), ''), output_location),
      updated_at = v_now
    where id = t.id returning * into t;
  return json_build_object('lease_expires_at', t.lease_expires_at, 'cancelled', false);
end $$;
