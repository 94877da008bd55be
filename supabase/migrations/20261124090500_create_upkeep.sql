-- What looks after the queue: claims that ran out come back, old tasks go (for the service alone), workers say how they are.

-- Puts expired claims back with backoff and jitter, or fails them as dead letter after the last attempt (I7). p_lost:
-- [[task_id, attempt], …] of runs known to be dead, rescued without waiting for the lease and beyond p_limit.
-- Answers [{task, attempt, flow_run_id, dead_letter, ended}].
create function public.rescue_tasks(p_lost jsonb default '[]', p_limit integer default 100)
returns json language plpgsql security definer set search_path = '' as $$
declare
  v_now timestamptz := private.now();
  v_lost record;
  v_each record;
  v_rescued json[] := '{}';
  v_answer json;
begin
  perform private.service_only('rescues');
  for v_each in
    select dead.id, dead.user_id from (
      select t.id, t.user_id, t.order_key, l.n, null::timestamptz as lease
        from jsonb_array_elements(p_lost) with ordinality as l (pair, n)
        join public.tasks t on t.id = private.as_uuid(l.pair ->> 0) and t.attempts = (l.pair ->> 1)::integer
        where t.lease_expires_at is not null
      union all
      (select t.id, t.user_id, t.order_key, null, t.lease_expires_at
        from private.queue q join public.tasks t on t.id = q.task_id
        where q.place = 'held' and t.lease_expires_at <= v_now
        order by t.lease_expires_at, t.order_key limit greatest(p_limit, 0))
    ) dead group by dead.id, dead.user_id
    -- Owner by owner, so that two who rescue take the owners' locks in the same order.
    order by dead.user_id, min(dead.n), min(dead.lease), min(dead.order_key)
  loop
    v_answer := private.rescue_one(v_each.id, v_each.user_id, v_now, exists (
      select from jsonb_array_elements(p_lost) as l (pair)
      where private.as_uuid(l.pair ->> 0) = v_each.id and (l.pair ->> 1)::integer = (select t.attempts from public.tasks t where t.id = v_each.id)));
    if v_answer is not null then
      v_rescued := v_rescued || v_answer;
    end if;
  end loop;
  perform private.move_cursors();
  if cardinality(v_rescued) > 0 then
    perform nextval('private.pulse');
  end if;
  return array_to_json(v_rescued);
end $$;

-- Null when it is not to be rescued any more: renewed, ended, deleted with its project, or fallen with another that was rescued just before.
create function private.rescue_one(p_id uuid, p_user_id uuid, p_now timestamptz, p_lost boolean) returns json language plpgsql set search_path = '' as $$
declare
  q private.queue;
  t public.tasks;
  v_error text;
  v_ended uuid[];
  v_outcome json;
begin
  perform private.lock_owner(p_user_id);
  select * into q from private.queue x where x.task_id = p_id for update;
  select * into t from public.tasks x where x.id = p_id;
  v_error := format('Attempt %s was lost: worker %s stopped renewing its lease.', t.attempts, t.worker_id);
  if q.place is distinct from 'held' or not (p_lost or t.lease_expires_at <= p_now) then
    return null;
  end if;
  if t.attempts >= t.max_attempts then
    perform private.end_badly(p_id, 'Failed', v_error, null, false);
    update public.tasks set lost_token = null where id = p_id;  -- its holder, should it still live, is stale
    v_ended := private.end_others(p_id);
  else
    v_ended := private.put_back(t, v_error, private.backoff(t.attempts), null);
  end if;
  v_outcome := private.outcome(p_id, '{}', v_ended);
  return json_build_object('task', v_outcome -> 'task', 'attempt', t.attempts, 'flow_run_id', t.flow_run_id,
    'dead_letter', t.attempts >= t.max_attempts, 'ended', v_outcome -> 'ended');
end $$;

-- Deletes tasks that ended more than p_older_than_seconds ago, whole families at a time, and answers with the deleted
-- rows. A row is kept while its parent, a child or a dependent is kept. The last family may exceed p_limit.
create function public.prune_tasks(p_older_than_seconds double precision, p_limit integer default 100)
returns json language plpgsql security definer set search_path = '' as $$
declare
  v_before timestamptz := private.now() - make_interval(secs => p_older_than_seconds);
  v_each record;
  v_family uuid[];
  v_kept uuid[] := '{}';
  v_pruned uuid[] := '{}';
  v_answer json;
begin
  perform private.service_only('prunes');
  -- A task ends after it was created: so the walk from the oldest stops at the first that is too young.
  for v_each in
    select t.id, t.user_id, t.parent_id, t.depends_on from public.tasks t
    where t.generation_processed_at < v_before order by t.order_key
  loop
    exit when cardinality(v_pruned) >= p_limit;
    continue when v_each.id = any (v_pruned) or v_each.id = any (v_kept);
    v_family := private.family(v_each.id);
    if exists (select from public.tasks t where t.id = any (v_family)
        and (t.generation_processed_at is null or t.generation_processed_at >= v_before)) then
      v_kept := v_kept || v_each.id;
    else
      v_pruned := v_pruned || array(select unnest(v_family) except select unnest(v_pruned));
    end if;
  end loop;
  perform private.lock_owner(o.user_id) from (select distinct t.user_id from public.tasks t where t.id = any (v_pruned) order by 1) o;
  with gone as (
      delete from public.tasks t where t.id = any (v_pruned) and t.generation_processed_at < v_before returning t.*)
    select coalesce(json_agg(row_to_json(gone) order by gone.order_key), '[]') into v_answer from gone;
  return v_answer;
end $$;

-- A task and all that must be pruned with it: parents, children and dependents, and so on from each of these.
create function private.family(p_id uuid) returns uuid[] language sql stable set search_path = '' as $$
  with recursive family (id) as (
    select p_id
    union
    select near.id from family f cross join lateral (
      select t.parent_id as id from public.tasks t where t.id = f.id and t.parent_id is not null
      union all select c.id from public.tasks c where c.parent_id = f.id
      union all select e.task_id from public.task_dependencies e where e.depends_on = f.id) near
  )
  select array_agg(id) from family
$$;

-- A worker says that it lives, which model it has loaded, and facts of itself, in place of what it said before. One that
-- the caller has not named yet is registered. Refuses LT001.
create function public.note_worker(
  p_worker_id text, p_current_model text default null, p_metadata jsonb default '{}', p_user_id uuid default null
) returns void language plpgsql security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
begin
  perform private.check_worker_id(p_worker_id);
  if p_current_model is not null then perform private.check_text('current_model', p_current_model, 1000); end if;
  if jsonb_typeof(p_metadata) is distinct from 'object' or octet_length(p_metadata::text) > 16384 then
    perform private.refuse('LT001', 'metadata is no JSON object of at most 16 KB.', 'Send an object of a few facts.',
      '{"field": "metadata"}');
  end if;
  perform private.check_json('metadata', p_metadata);
  insert into public.workers (id, user_id, last_heartbeat, current_model, metadata)
    values (p_worker_id, v_user, private.now(), p_current_model, p_metadata)
    on conflict (id, user_id) do update set last_heartbeat = excluded.last_heartbeat,
      current_model = excluded.current_model, metadata = excluded.metadata;
end $$;
