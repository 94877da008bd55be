-- What can be read of the queue by function. Users see their own tasks, the service sees all or one user's.

create function public.get_task(p_task_id text, p_user_id uuid default null)
returns json language plpgsql stable security definer set search_path = '' as $$
begin
  return row_to_json(private.known(p_task_id, private.acting_user(p_user_id)));
end $$;

-- The children of a task in the order they were enqueued.
create function public.task_children(p_parent_id text, p_user_id uuid default null)
returns json language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
begin
  return (select coalesce(json_agg(row_to_json(t) order by t.order_key), '[]') from public.tasks t
    where t.parent_id = private.as_uuid(p_parent_id) and (v_user is null or t.user_id = v_user));
end $$;

-- Newest first; null means any. Each way to narrow has its own statement, so that each walks its own index and stops at
-- the limit. What is not Complete is found through the queue, which is short.
create function public.list_tasks(
  p_status text[] default null, p_task_type text[] default null, p_project_id uuid default null, p_parent_id text default null,
  p_limit integer default 50, p_user_id uuid default null
) returns json language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  v_limit integer := greatest(p_limit, 0);
  v_parent uuid := private.as_uuid(p_parent_id);
  v_rows public.tasks[];
begin
  if p_parent_id is not null then
    v_rows := array(select t from public.tasks t
      where t.parent_id = v_parent and (v_user is null or t.user_id = v_user) and (p_project_id is null or t.project_id = p_project_id)
        and (p_status is null or t.status::text = any (p_status)) and (p_task_type is null or t.task_type = any (p_task_type))
      order by t.order_key desc limit v_limit);
  elsif p_status is not null and not 'Complete' = any (p_status) then
    v_rows := array(select t from private.queue q join public.tasks t on t.id = q.task_id
      where (v_user is null or q.user_id = v_user) and (p_project_id is null or t.project_id = p_project_id)
        and q.place = any (private.places(p_status)) and t.status::text = any (p_status)
        and (p_task_type is null or t.task_type = any (p_task_type))
      order by q.order_key desc limit v_limit);
  elsif p_project_id is not null then
    v_rows := array(select t from public.tasks t
      where t.project_id = p_project_id and (v_user is null or t.user_id = v_user)
        and (p_status is null or t.status::text = any (p_status)) and (p_task_type is null or t.task_type = any (p_task_type))
      order by t.order_key desc limit v_limit);
  elsif v_user is not null then
    v_rows := array(select t from public.tasks t
      where t.user_id = v_user
        and (p_status is null or t.status::text = any (p_status)) and (p_task_type is null or t.task_type = any (p_task_type))
      order by t.order_key desc limit v_limit);
  else
    v_rows := array(select t from public.tasks t
      where (p_status is null or t.status::text = any (p_status)) and (p_task_type is null or t.task_type = any (p_task_type))
      order by t.order_key desc limit v_limit);
  end if;
  return array_to_json(v_rows);
end $$;

create function private.places(p_status text[]) returns private.place[] language sql immutable set search_path = '' as $$
  select array(select p.place from (values
      ('Queued', 'ready'::private.place), ('Queued', 'blocked'), ('Queued', 'delayed'), ('In Progress', 'held'),
      ('In Progress', 'waiting'), ('Failed', 'ended'), ('Cancelled', 'ended')) as p (status, place)
    where p.status = any (p_status))
$$;

-- Every task in exactly one of the totals, by the predicate of claim (I4): `ready` is what a claim could take now.
-- p_history = false leaves out the totals of ended tasks, which cost time that grows with the history.
create function public.task_counts(p_user_id uuid default null, p_history boolean default true)
returns json language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  v_ready json;
  v_answer jsonb;
begin
  select json_build_object('ready', coalesce(sum(n), 0), 'ready_by_type', coalesce(json_object_agg(task_type, n order by task_type), '{}'))
    into v_ready
    from (
      select due.task_type, sum(due.n)::bigint as n from (
        select q.task_type, count(*) as n from private.queue q
          where q.place = 'ready' and (v_user is null or q.user_id = v_user) group by 1
        union all
        select q.task_type, count(*) from private.queue q
          where q.place = 'delayed' and q.scheduled_at <= private.now() and (v_user is null or q.user_id = v_user) group by 1
      ) due group by 1) ready;
  select v_ready::jsonb || jsonb_build_object(
      'blocked', (select count(*) from private.queue q where q.place = 'blocked' and (v_user is null or q.user_id = v_user)),
      'delayed', (select count(*) from private.queue q
        where q.place = 'delayed' and q.scheduled_at > private.now() and (v_user is null or q.user_id = v_user)),
      'in_progress', (select count(*) from private.queue q where q.place = 'held' and (v_user is null or q.user_id = v_user)),
      'waiting', (select count(*) from private.queue q where q.place = 'waiting' and (v_user is null or q.user_id = v_user)))
    into v_answer;
  if p_history then
    select v_answer || jsonb_build_object(
        'complete', (select count(*) from public.tasks t where v_user is null or t.user_id = v_user)
          - (select count(*) from private.queue q where v_user is null or q.user_id = v_user),
        'failed', count(*) filter (where t.status = 'Failed'), 'cancelled', count(*) filter (where t.status = 'Cancelled'))
      into v_answer
      from private.queue q join public.tasks t on t.id = q.task_id
      where q.place = 'ended' and (v_user is null or q.user_id = v_user);
  end if;
  return v_answer;
end $$;

-- The dependencies of a task in the order given at enqueue; output_location is null until one is Complete.
create function public.task_predecessors(p_task_id text, p_user_id uuid default null)
returns json language plpgsql stable security definer set search_path = '' as $$
declare
  t public.tasks := private.known(p_task_id, private.acting_user(p_user_id));
begin
  return (select coalesce(json_agg(json_build_object('id', p.id, 'status', p.status,
      'output_location', case when p.status = 'Complete' then p.output_location end) order by d.n), '[]')
    from unnest(t.depends_on) with ordinality as d (id, n) join public.tasks p on p.id = d.id);
end $$;

-- Complete segments of a run, or of the orchestrator of that id: by index, the newest of each, no cap. A run id is a text
-- that two users may have said: the service gets the segments of the orchestrator's owner or of the project it names, and
-- is refused (LT001) where neither tells whose run is meant.
create function public.completed_segments(p_run_id text, p_user_id uuid default null, p_project_id uuid default null)
returns json language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := coalesce(private.acting_user(p_user_id),
    (select t.user_id from public.tasks t where t.id = private.as_uuid(p_run_id)));
begin
  if v_user is null and p_project_id is null and (
      select count(distinct t.user_id) > 1 from public.tasks t
      where t.task_type = 'travel_segment' and t.params ->> 'orchestrator_run_id' = p_run_id) then
    perform private.refuse('LT001', 'run_id names runs of several users.', 'Name the orchestrator or the project.',
      '{"field": "run_id"}');
  end if;
  -- Two probes of two indexes: one condition with `or` would read every segment there is.
  return (
    select coalesce(json_agg(json_build_object('segment_index', s.segment_index, 'task_id', s.id,
        'output_location', s.output_location) order by s.segment_index), '[]')
    from (
      select distinct on (f.segment_index) f.segment_index, f.id, f.output_location
      from (
        select t.id, t.order_key, t.status, t.output_location, t.project_id, t.user_id, (t.params ->> 'segment_index')::numeric as segment_index
          from public.tasks t where t.task_type = 'travel_segment' and t.params ->> 'orchestrator_run_id' = p_run_id
            and jsonb_typeof(t.params -> 'segment_index') = 'number'
        union
        select t.id, t.order_key, t.status, t.output_location, t.project_id, t.user_id, (t.params ->> 'segment_index')::numeric
          from public.tasks t where t.task_type = 'travel_segment' and t.parent_id = private.as_uuid(p_run_id)
            and jsonb_typeof(t.params -> 'segment_index') = 'number'
      ) f
      where f.status = 'Complete' and f.output_location is not null and f.segment_index = trunc(f.segment_index)
        and (v_user is null or f.user_id = v_user) and (p_project_id is null or f.project_id = p_project_id)
      order by f.segment_index, f.order_key desc
    ) s);
end $$;

-- The workers of a user, or all: those that were heard of last come first.
create function public.list_workers(p_limit integer default 100, p_user_id uuid default null)
returns json language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
begin
  return (select coalesce(json_agg(row_to_json(heard)), '[]') from (
    select w.id, w.last_heartbeat, w.current_model, w.metadata from public.workers w
    where v_user is null or w.user_id = v_user
    order by w.last_heartbeat desc, w.id collate "C" limit greatest(p_limit, 0)) heard);
end $$;

-- A number that differs after every write of the queue. A hint: it may differ without one.
create function public.queue_pulse() returns bigint language sql volatile security definer set search_path = '' as $$
  select last_value + is_called::integer from private.pulse
$$;

-- Where the holder of an attempt may store its output: {owner, task_id, attempt}. Refuses as complete_task does.
create function public.upload_target(
  p_task_id text, p_claim_token text default null, p_holder text default null, p_user_id uuid default null
) returns json language plpgsql security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  q private.queue;
  t public.tasks := private.known(p_task_id, v_user);
begin
  select * into q from private.queue x where x.task_id = t.id;
  perform private.held_to_end(q, t, p_claim_token, private.holder(p_holder, v_user));
  return json_build_object('owner', t.user_id, 'task_id', t.id, 'attempt', t.attempts);
end $$;

-- What an operator has to know about an installation, for the service: the schema's version, tables of ours without
-- forced row-level security, and whether the bucket is there and readable by link.
create function public.longtake_health(p_bucket text default 'image_uploads')
returns json language plpgsql stable security definer set search_path = '' as $$
begin
  perform private.service_only('may ask this');
  return json_build_object(
    'schema_version', public.longtake_schema_version(),
    'unprotected_tables', (
      select coalesce(json_agg(format('%I.%I', n.nspname, c.relname) order by 1), '[]')
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('public', 'private') and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)),
    'bucket', (select json_build_object('public', b.public) from storage.buckets b where b.id = p_bucket));
end $$;

create function public.longtake_schema_version() returns text language sql immutable set search_path = '' as $$
  select '20261124'
$$;
