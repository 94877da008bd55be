-- How tasks end, and what else ends, completes or comes back with them. Whatever changes tasks with kin holds their
-- owner's lock (private.locked takes it), so that within a family one thing happens after the other.

-- {task, ready, ended}: the row after the write, the ids it made eligible, the other rows that ended with it.
create function private.outcome(p_id uuid, p_ready uuid[], p_ended uuid[]) returns json language plpgsql stable set search_path = '' as $$
declare
  v_answer json;
begin
  select json_build_object('task', row_to_json(t), 'ready', to_json(p_ready), 'ended', (
      select coalesce(json_agg(row_to_json(e) order by named.n), '[]')
      from unnest(p_ended) with ordinality as named (id, n) join public.tasks e on e.id = named.id))
    into v_answer from public.tasks t where t.id = p_id;
  return v_answer;
end $$;

-- What can be claimed now of these, in the order of claims.
create function private.ready_among(p_ids uuid[]) returns uuid[] language plpgsql volatile set search_path = '' as $$
begin
  return (
    select coalesce(array_agg(q.task_id order by q.priority desc, q.order_key), '{}') from private.queue q
    where q.task_id = any (p_ids) and (q.place = 'ready' or (q.place = 'delayed' and q.scheduled_at <= private.now())));
end $$;

-- The same of the tasks that wait for one of these.
create function private.ready_after(p_ids uuid[]) returns uuid[] language plpgsql volatile set search_path = '' as $$
begin
  return private.ready_among(array(
    select e.task_id from public.task_dependencies e join public.tasks t on t.id = e.depends_on and t.status = 'Complete'
    where e.depends_on = any (p_ids)));
end $$;

-- The answer to a repeated verb, as far as it still stands.
create function private.again(t public.tasks) returns json language plpgsql set search_path = '' as $$
declare
  v_ended uuid[] := array(select x.id from public.tasks x where x.root_task_id = t.id order by x.order_key);
begin
  return private.outcome(t.id, private.ready_after(t.id || v_ended), v_ended);
end $$;

-- The holder's row for a verb that ends its claim. Refuses LT007 if somebody else, or it itself, has ended it otherwise,
-- LT006 if it does not hold it.
create function private.held_to_end(q private.queue, t public.tasks, p_token text, p_holder text)
returns void language plpgsql set search_path = '' as $$
begin
  if private.is_held_by(q, t, p_token, p_holder) then
    return;
  elsif t.status in ('Complete', 'Failed', 'Cancelled') and lower(p_token) in (t.lost_token::text, t.closed_token::text) then
    perform private.refuse_ended(t);
  end if;
  perform private.refuse_stale(t, 'The claim token does not hold it.');
end $$;

-- After a task has become Complete: one fewer to wait for, for each that depends on it.
create function private.unblock_dependents(p_id uuid) returns void language plpgsql set search_path = '' as $$
declare
  v_next record;
begin
  for v_next in
    update private.queue q set unmet = q.unmet - 1,
        place = case when q.place = 'blocked' then private.place_of(q.unmet - 1, q.scheduled_at) else q.place end
      where q.task_id in (select e.task_id from public.task_dependencies e where e.depends_on = p_id)
      returning q.place, q.priority, q.order_key
  loop
    if v_next.place = 'ready' then
      perform private.ready_late(v_next.priority, v_next.order_key);
    end if;
  end loop;
end $$;

-- Completes a waiting task whose children are all Complete, with the output of the child that no sibling depends on (of
-- several, the one enqueued last); then its parent, and so on. Answers with the completed. p_root: who caused it.
-- An orchestrator that an old client left In Progress counts as waiting once a stitch of its own has completed.
create function private.complete_upward(p_id uuid, p_root uuid) returns uuid[] language plpgsql set search_path = '' as $$
declare
  v_now timestamptz := private.now();
  v_id uuid := p_id;
  v_root uuid := p_root;
  v_completed uuid[] := '{}';
  v_token uuid;
  v_last public.tasks;
  t public.tasks;
begin
  while v_id is not null loop
    select * into t from public.tasks x where x.id = v_id;
    exit when not (t.waiting or private.is_left_to_stitch(t)) or exists (select from public.tasks c where c.parent_id = v_id and c.status <> 'Complete');
    select * into v_last from public.tasks c
      where c.parent_id = v_id and not exists (
        select from public.task_dependencies e join public.tasks s on s.id = e.task_id
        where e.depends_on = c.id and s.parent_id = v_id)
      order by c.order_key desc limit 1;
    exit when not found;
    delete from private.queue where task_id = v_id returning claim_token into v_token;
    update public.tasks set status = 'Complete', waiting = false, lease_expires_at = null, output_location = v_last.output_location,
        result = v_last.result, error_message = null, root_task_id = v_root, generation_processed_at = v_now,
        updated_at = v_now, closed_token = null, lost_token = v_token
      where id = v_id;
    perform private.unblock_dependents(v_id);
    v_completed := v_completed || v_id;
    v_root := coalesce(v_root, v_id);
    v_id := t.parent_id;
  end loop;
  return v_completed;
end $$;

create function private.is_left_to_stitch(t public.tasks) returns boolean language sql stable set search_path = '' as $$
  select t.task_type = 'travel_orchestrator' and t.status = 'In Progress' and exists (
    select from public.tasks c where c.parent_id = t.id and c.task_type = 'travel_stitch' and c.status = 'Complete')
$$;

-- Hands an orchestrator to its children: In Progress, no holder, no lease; they decide its end. Repeated while it waits,
-- or when it has completed so, it gets the same answer. Refuses LT007, LT006, LT002, LT001 (it has no children).
create function public.wait_task(p_task_id text, p_claim_token text, p_user_id uuid default null)
returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_now timestamptz := private.now();
  v_user uuid := private.acting_user(p_user_id);
  q private.queue := private.locked(p_task_id, v_user);
  t public.tasks := private.known(p_task_id, v_user);
  v_completed uuid[];
begin
  if t.closed_token::text = lower(p_claim_token) and (t.waiting or t.status = 'Complete') then
    return private.again(t);
  end if;
  perform private.held_to_end(q, t, p_claim_token, null);
  if not exists (select from public.tasks c where c.parent_id = t.id) then
    perform private.refuse('LT001', format('Task %s has no children to wait for.', t.id),
      'Complete it instead, or enqueue its children first.', '{"field": "task_id"}');
  end if;
  update private.queue set place = 'waiting', claim_token = null, held_by = null, start_request_id = null where task_id = t.id;
  update public.tasks set waiting = true, worker_id = null, lease_expires_at = null, closed_token = q.claim_token,
    updated_at = v_now where id = t.id;
  v_completed := private.complete_upward(t.id, null);
  perform nextval('private.pulse');
  return private.outcome(t.id, private.ready_after(v_completed), v_completed[2:]);
end $$;

-- Ends a task as Complete and makes its dependents ready; the last child of a waiting parent completes the parent.
-- The holder repeating its own complete gets the same answer (I2). Refuses LT006, LT007, LT002, LT001.
create function public.complete_task(
  p_task_id text, p_claim_token text default null, p_output_location text default null, p_result jsonb default null,
  p_holder text default null, p_user_id uuid default null
) returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_now timestamptz := private.now();
  v_user uuid := private.acting_user(p_user_id);
  v_id uuid := private.as_uuid(p_task_id);
  v_token uuid;
  v_is_sound boolean := (p_output_location is null or private.check_text('output_location', p_output_location, 16000))
    and (p_result is null or private.check_result(p_result));
  v_answer json;
  v_pulse bigint := nextval('private.pulse');
  v_is_alone boolean;
  v_completed uuid[];
  q private.queue;
  t public.tasks;
begin
  -- The usual case in two statements: a task without kin, by its token.
  delete from private.queue x where x.task_id = v_id and x.claim_token::text = lower(p_claim_token) and not x.has_kin
    and (v_user is null or x.user_id = v_user) returning x.claim_token into v_token;
  v_is_alone := found;
  if not v_is_alone then
    q := private.locked(p_task_id, v_user);
    t := private.known(p_task_id, v_user);
    if t.closed_token::text = lower(p_claim_token) and t.status = 'Complete' then
      return private.again(t);
    end if;
    perform private.held_to_end(q, t, p_claim_token, private.holder(p_holder, v_user));
    delete from private.queue where task_id = t.id;
    v_token := q.claim_token;
  end if;
  update public.tasks set status = 'Complete', output_location = p_output_location, result = p_result, error_message = null,
      lease_expires_at = null, generation_processed_at = v_now, updated_at = v_now, closed_token = v_token
    where id = v_id
    returning json_build_object('task', row_to_json(tasks), 'ready', array[]::uuid[], 'ended', array[]::uuid[]) into v_answer;
  if v_is_alone then
    return v_answer;
  end if;
  perform private.unblock_dependents(t.id);
  v_completed := private.complete_upward(t.parent_id, t.id);
  return private.outcome(t.id, private.ready_after(t.id || v_completed), v_completed);
end $$;

-- What a task ended because of says, in the row of each that ended with it.
create function private.cause_sentence(p_status public.task_status, p_root uuid) returns text language sql stable set search_path = '' as $$
  select format('%s because %s %s %s: %s', p_status, t.task_type, t.id,
    case t.status when 'Failed' then 'failed' else 'was cancelled' end, left(coalesce(t.error_message, ''), 1000))
  from public.tasks t where t.id = p_root
$$;

-- Writes a bad end: Failed or Cancelled. p_by_holder: its own word, so that its repetition is known by the token.
create function private.end_badly(p_id uuid, p_status public.task_status, p_error text, p_root uuid, p_by_holder boolean)
returns void language plpgsql set search_path = '' as $$
declare
  v_now timestamptz := private.now();
  v_token uuid;
begin
  select q.claim_token into v_token from private.queue q where q.task_id = p_id for update;
  update private.queue set place = 'ended', claim_token = null, held_by = null, start_request_id = null, scheduled_at = null
    where task_id = p_id;
  update public.tasks set status = p_status, waiting = false, lease_expires_at = null, scheduled_at = null,
      root_task_id = p_root, error_message = p_error, output_location = case when p_status = 'Failed' then p_error end,
      generation_processed_at = v_now, updated_at = v_now,
      closed_token = case when p_by_holder then v_token end, lost_token = case when not p_by_holder then v_token end
    where id = p_id;
end $$;

-- Ends all that falls with a task that has just ended badly, nearest first: what depends on it, its parent, and its
-- children (of a failure the queued ones, since running work can be used after a retry; of a cancel all), and so on from
-- each of these. Answers with the fallen.
create function private.end_others(p_id uuid) returns uuid[] language plpgsql set search_path = '' as $$
declare
  v_status public.task_status;
  v_root uuid;
  v_error text;
  v_front uuid[] := array[p_id];
  v_fallen uuid[] := '{}';
  v_each uuid;
begin
  select t.status, coalesce(t.root_task_id, t.id) into v_status, v_root from public.tasks t where t.id = p_id;
  v_error := private.cause_sentence(v_status, v_root);
  loop
    v_front := array(
      select near.id
      from unnest(v_front) with ordinality as f (id, n)
      cross join lateral (
        select t.id, t.status, 1 as kind, t.order_key from public.task_dependencies e join public.tasks t on t.id = e.task_id
          where e.depends_on = f.id
        union all
        select p.id, p.status, 2, p.order_key from public.tasks t join public.tasks p on p.id = t.parent_id where t.id = f.id
        union all
        select c.id, c.status, 3, c.order_key from public.tasks c
          where c.parent_id = f.id and (c.status = 'Queued' or v_status = 'Cancelled')
      ) near
      where near.status not in ('Complete', 'Failed', 'Cancelled') and near.id <> p_id
      group by near.id
      order by min(array[f.n, near.kind, near.order_key]));
    exit when v_front = '{}';
    foreach v_each in array v_front loop
      perform private.end_badly(v_each, v_status, v_error, v_root, false);
    end loop;
    v_fallen := v_fallen || v_front;
  end loop;
  return v_fallen;
end $$;

-- What keeps a task from being Queued: a dependency or a parent that has ended badly. Null when nothing does.
create function private.held_down(p_id uuid, out status public.task_status, out root uuid)
language sql stable set search_path = '' as $$
  select c.status, coalesce(c.root_task_id, c.id)
  from public.tasks t
  cross join lateral (
    select d.n, x.status, x.root_task_id, x.id from pg_catalog.unnest(t.depends_on) with ordinality as d (id, n)
      join public.tasks x on x.id = d.id
    union all select 2147483647, x.status, x.root_task_id, x.id from public.tasks x where x.id = t.parent_id
  ) c
  where t.id = p_id and c.status in ('Failed', 'Cancelled') order by c.n limit 1
$$;

-- Ends a queued task that another end holds down, and all that falls with it; answers with the others.
create function private.fall_if_held_down(p_id uuid) returns uuid[] language plpgsql set search_path = '' as $$
declare
  v_cause record;
  v_said uuid;
begin
  select t.closed_token into v_said from public.tasks t where t.id = p_id and t.status = 'Queued';
  if not found then
    return '{}';
  end if;
  select * into v_cause from private.held_down(p_id);
  if v_cause.root is null then
    return '{}';
  end if;
  perform private.end_badly(p_id, v_cause.status, private.cause_sentence(v_cause.status, v_cause.root), v_cause.root, false);
  update public.tasks set closed_token = v_said where id = p_id and v_said is not null;
  return private.end_others(p_id);
end $$;

-- Back to Queued, the attempt spent; its worker, run and ticks stay visible until the next claim. Answers with what fell
-- if another end holds it down. The token is the holder's last word, or with p_token null nobody's.
create function private.put_back(t public.tasks, p_error text, p_delay double precision, p_token uuid)
returns uuid[] language plpgsql set search_path = '' as $$
declare
  v_now timestamptz := private.now();
  v_due timestamptz := case when p_delay > 0 then v_now + make_interval(secs => p_delay) end;
begin
  update private.queue set place = private.place_of(0, v_due), scheduled_at = v_due, claim_token = null, held_by = null,
    start_request_id = null where task_id = t.id;
  update public.tasks set status = 'Queued', lease_expires_at = null, scheduled_at = v_due, error_message = p_error,
    output_location = null, updated_at = v_now, closed_token = p_token where id = t.id;
  perform private.ready_late(t.priority, t.order_key);
  return private.fall_if_held_down(t.id);
end $$;

-- With p_retry and attempts left: back to Queued after a backoff (or p_delay seconds). Otherwise Failed, and with it all
-- that falls with it, each naming it and its error (I6). The holder repeating its own fail gets the same answer.
-- Refuses LT006, LT007, LT002, LT001.
create function public.fail_task(
  p_task_id text, p_claim_token text default null, p_error text default '', p_retry boolean default false,
  p_delay double precision default null, p_holder text default null, p_user_id uuid default null
) returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  v_error text := private.tidy_error(p_error);
  v_ended uuid[];
  q private.queue;
  t public.tasks;
begin
  if p_delay is not null then perform private.check_seconds('delay', p_delay, true); end if;
  q := private.locked(p_task_id, v_user);
  t := private.known(p_task_id, v_user);
  if t.closed_token::text = lower(p_claim_token) and t.status <> 'Complete' and not t.waiting then
    return private.again(t);
  end if;
  perform private.held_to_end(q, t, p_claim_token, private.holder(p_holder, v_user));
  if p_retry and t.attempts < t.max_attempts then
    v_ended := private.put_back(t, v_error, coalesce(p_delay, private.backoff(t.attempts)), q.claim_token);
  else
    perform private.end_badly(t.id, 'Failed', v_error, null, true);
    v_ended := private.end_others(t.id);
  end if;
  perform nextval('private.pulse');
  return private.outcome(t.id, '{}', v_ended);
end $$;

-- Hands a task back unharmed: Queued, the attempt returned, its place kept. Refuses LT006, LT002.
create function public.release_task(p_task_id text, p_claim_token text default null, p_holder text default null, p_user_id uuid default null)
returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_now timestamptz := private.now();
  v_user uuid := private.acting_user(p_user_id);
  q private.queue := private.locked(p_task_id, v_user);
  t public.tasks := private.known(p_task_id, v_user);
  v_ended uuid[];
begin
  if not private.is_held_by(q, t, p_claim_token, private.holder(p_holder, v_user)) then
    perform private.refuse_stale(t, 'The claim token does not hold it.');
  end if;
  update private.queue set place = 'ready', scheduled_at = null, claim_token = null, held_by = null, start_request_id = null
    where task_id = t.id;
  update public.tasks set status = 'Queued', attempts = attempts - 1, worker_id = null, lease_expires_at = null, tick = null,
    flow_run_id = null, output_location = null, generation_started_at = null, updated_at = v_now where id = t.id;
  perform private.ready_late(t.priority, t.order_key);
  v_ended := private.fall_if_held_down(t.id);
  perform nextval('private.pulse');
  return private.outcome(t.id, '{}', v_ended);
end $$;

-- Cancels a task with its children (also running ones), its dependents and its orchestrator (I6). A holder learns of it
-- from renew_task. Cancelling a Cancelled task answers the same. Refuses LT007 (Complete or Failed), LT002.
create function public.cancel_task(p_task_id text, p_user_id uuid default null)
returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  q private.queue := private.locked(p_task_id, v_user);
  t public.tasks := private.known(p_task_id, v_user);
  v_ended uuid[];
begin
  if t.status = 'Cancelled' then
    return private.again(t);
  elsif q.task_id is null or t.status = 'Failed' then
    perform private.refuse_ended(t);
  end if;
  perform private.end_badly(t.id, 'Cancelled', 'Cancelled on request.', null, false);
  v_ended := private.end_others(t.id);
  perform nextval('private.pulse');
  return private.outcome(t.id, '{}', v_ended);
end $$;

-- Gives a Failed or Cancelled task p_attempts more attempts and revives all that ended because of it. A task that ended
-- because of another is retried at that root. Refuses LT008, LT002, LT001.
create function public.retry_task(p_task_id text, p_attempts integer default 3, p_user_id uuid default null)
returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  q private.queue := private.locked(p_task_id, v_user);
  t public.tasks := private.known(p_task_id, v_user);
  v_back uuid[];
begin
  perform private.check_integer('attempts', p_attempts, 1, 100);
  if t.status not in ('Failed', 'Cancelled') then
    perform private.refuse('LT008', format('Task %s is %s.', t.id, t.status), 'Only a Failed or Cancelled task can be retried.',
      jsonb_build_object('task_id', t.id));
  end if;
  v_back := private.revive(coalesce(t.root_task_id, t.id), p_attempts);
  perform nextval('private.pulse');
  return private.outcome(t.id, private.ready_among(v_back), array_remove(v_back, t.id));
end $$;

-- Brings back a root and all that ended because of it, but for what another end holds down, directly or through others:
-- that names the other from now on. Answers with the ids that are back.
create function private.revive(p_root uuid, p_attempts integer) returns uuid[] language plpgsql set search_path = '' as $$
declare
  v_now timestamptz := private.now();
  v_fallen uuid[] := p_root || array(
    select t.id from public.tasks t where t.root_task_id = p_root and t.status in ('Failed', 'Cancelled') order by t.order_key);
  v_down jsonb := private.still_down(v_fallen);
  v_back uuid[] := '{}';
  v_each uuid;
  v_error text;
begin
  update public.tasks set max_attempts = attempts + p_attempts where id = p_root;
  foreach v_each in array v_fallen loop
    if v_down ? v_each::text then
      v_error := private.cause_sentence((v_down -> v_each::text ->> 'status')::public.task_status, (v_down -> v_each::text ->> 'root')::uuid);
      update public.tasks set status = (v_down -> v_each::text ->> 'status')::public.task_status,
          root_task_id = (v_down -> v_each::text ->> 'root')::uuid, error_message = v_error,
          output_location = case when v_down -> v_each::text ->> 'status' = 'Failed' then v_error end,
          updated_at = v_now, closed_token = null, lost_token = null
        where id = v_each;
    else
      perform private.revive_one(v_each, v_now);
      v_back := v_back || v_each;
    end if;
  end loop;
  foreach v_each in array v_back loop
    perform private.complete_upward(v_each, null);
  end loop;
  return v_back;
end $$;

-- Queued, or waiting for its children if it has run and has some: one that never ran has not planned them all yet.
-- The attempts go on counting, and there is at least one more.
create function private.revive_one(p_id uuid, p_now timestamptz) returns void language plpgsql set search_path = '' as $$
declare
  t public.tasks;
  v_waits boolean;
  v_unmet integer;
begin
  update public.tasks x set status = (case when w.waits then 'In Progress' else 'Queued' end)::public.task_status, waiting = w.waits,
      max_attempts = greatest(x.max_attempts, x.attempts + 1), worker_id = null, output_location = null, error_message = null,
      root_task_id = null, generation_processed_at = null, updated_at = p_now, closed_token = null, lost_token = null
    from (select x.attempts > 0 and (select true from public.tasks c where c.parent_id = x.id limit 1) is not null as waits
          from public.tasks x where x.id = p_id) w
    where x.id = p_id returning x.* into t;
  v_waits := t.waiting;
  v_unmet := (select count(*) from unnest(t.depends_on) d (id) join public.tasks x on x.id = d.id where x.status <> 'Complete');
  update private.queue set unmet = v_unmet, scheduled_at = null,
      place = case when v_waits then 'waiting'::private.place else private.place_of(v_unmet, null) end
    where task_id = p_id;
  if not v_waits and v_unmet = 0 then
    perform private.ready_late(t.priority, t.order_key);
  end if;
end $$;

-- Of tasks that fell together: those that another end, outside of them, holds down: {id: {status, root}}.
create function private.still_down(p_fallen uuid[]) returns jsonb language plpgsql set search_path = '' as $$
declare
  v_down jsonb := '{}';
  v_front uuid[];
  v_each uuid;
  v_cause record;
begin
  foreach v_each in array p_fallen loop
    continue when v_down ? v_each::text;
    -- A dependency, the parent or a child that has ended badly and is not one of them.
    select c.status, coalesce(c.root_task_id, c.id) as root into v_cause
      from public.tasks t
      cross join lateral (
        select 1 as kind, d.n, x.* from unnest(t.depends_on) with ordinality as d (id, n) join public.tasks x on x.id = d.id
        union all select 2, 0, x.* from public.tasks x where x.id = t.parent_id
        union all select 3, x.order_key, x.* from public.tasks x where x.parent_id = t.id
      ) c
      where t.id = v_each and c.status in ('Failed', 'Cancelled') and c.id <> all (p_fallen)
      order by c.kind, c.n limit 1;
    continue when not found;
    v_front := array[v_each];
    while v_front <> '{}' loop
      v_down := v_down || coalesce((
        select jsonb_object_agg(id, jsonb_build_object('status', v_cause.status, 'root', v_cause.root))
        from unnest(v_front) as id where not v_down ? id::text), '{}');
      v_front := array(
        select distinct near.id from unnest(v_front) as f (id) cross join lateral (
          select e.task_id as id from public.task_dependencies e where e.depends_on = f.id
          union all select t.parent_id from public.tasks t where t.id = f.id
          union all select c.id from public.tasks c where c.parent_id = f.id
        ) near
        where near.id = any (p_fallen) and not v_down ? near.id::text);
    end loop;
  end loop;
  return v_down;
end $$;
