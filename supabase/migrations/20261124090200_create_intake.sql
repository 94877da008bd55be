-- How a task comes in, whether by enqueue_tasks or by a plain insert: two triggers check it, give it its place in the
-- queue and count what it waits for. Every later change is made by the functions of the queue alone.

-- The digest of what the client said, apart from the id. 1 and 1.0 are one number, and keys have no order.
create function private.hash_body(t public.tasks) returns bigint language sql stable set search_path = '' as $$
  select pg_catalog.jsonb_hash_extended(pg_catalog.jsonb_build_object(
    'task_type', t.task_type, 'params', t.params, 'project_id', t.project_id, 'depends_on', pg_catalog.to_jsonb(t.depends_on),
    'parent_id', t.parent_id, 'priority', t.priority, 'scheduled_at', extract(epoch from t.scheduled_at),
    'max_attempts', t.max_attempts, 'correlation_id', t.correlation_id, 'brief_id', t.brief_id, 'mandate', t.mandate,
    'max_ticks', t.max_ticks), 0)
$$;

-- A row as its client may have said it: what is not the client's to say is overwritten, what no row could hold refused.
-- p_user_id: whose projects count; null: all.
create function private.checked(t public.tasks, p_user_id uuid) returns public.tasks language plpgsql set search_path = '' as $$
begin
  perform private.check_task_type(t.task_type);
  perform private.check_params(t.params);
  -- A user has few priorities, the service many: claims look at each that has ready work, whoever's it is.
  perform private.check_integer('priority', t.priority, case when p_user_id is null then -1000 else -100 end,
    case when p_user_id is null then 1000 else 100 end);
  perform private.check_integer('max_attempts', t.max_attempts, 1, 100);
  if t.max_ticks is not null then perform private.check_integer('max_ticks', t.max_ticks, 1, 2147483647); end if;
  if not t.scheduled_at between '1970-01-01' and '9000-01-01' then
    perform private.refuse_field('scheduled_at', t.scheduled_at::text, 'Give a moment of these centuries.');
  elsif array_ndims(t.depends_on) > 1 or array_position(t.depends_on, null) is not null or cardinality(t.depends_on) > 10000 then
    perform private.refuse_field('depends_on', left(t.depends_on::text, 80), 'Give a list of at most 10000 task ids.');
  end if;
  t.depends_on := array(select unnest(t.depends_on));  -- counted from one, whoever wrote it
  if t.correlation_id is not null then perform private.check_text('correlation_id', t.correlation_id, 200); end if;
  if t.mandate is not null then perform private.check_text('mandate', t.mandate, 16000); end if;
  -- To another tenant, "not yours" and "does not exist" are the same answer (I5).
  t.user_id := (select p.user_id from public.projects p
    where p.id = t.project_id and (p_user_id is null or p.user_id = p_user_id));
  if t.user_id is null then
    perform private.refuse_field('project_id', t.project_id::text, 'Name a project of yours; there is no such one.');
  end if;
  if t.brief_id is not null and not exists (select from public.briefs b where b.id = t.brief_id and b.user_id = t.user_id) then
    perform private.refuse('LT003', format('brief_id names %s, which is no brief.', t.brief_id), 'Store the brief first.',
      '{"field": "brief_id"}');
  end if;
  -- Old clients name the orchestrator in the params of its parts only.
  if t.parent_id is null and t.task_type in ('travel_segment', 'travel_stitch') then
    t.parent_id := (select o.id from public.tasks o
      where o.id = private.as_uuid(t.params ->> 'orchestrator_task_id_ref') and o.user_id = t.user_id
        and o.task_type = 'travel_orchestrator');
  end if;
  if t.dependant_on is not null and not t.dependant_on = any (t.depends_on) then
    t.depends_on := t.dependant_on || t.depends_on;
  end if;
  if cardinality(t.depends_on) > 1 then
    t.depends_on := array(select id from unnest(t.depends_on) with ordinality as named (id, n) group by id order by min(n));
  end if;
  t.dependant_on := case when cardinality(t.depends_on) = 1 then t.depends_on[1] end;
  t.body_hash := private.hash_body(t);
  return t;
end $$;

-- Only who owns the tables may insert the columns that are the server's, such as the status of a row from elsewhere.
create function private.stamp_task() returns trigger language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
begin
  if new.body_hash is null then  -- enqueue_tasks has checked its rows already
    new := private.checked(new, private.acting_user(null));
  end if;
  new.created_at := coalesce(new.created_at, private.now());
  new.updated_at := coalesce(new.updated_at, new.created_at);
  if new.status in ('Complete', 'Failed', 'Cancelled') then
    new.generation_processed_at := coalesce(new.generation_processed_at, new.updated_at);
    if new.status <> 'Complete' then new.error_message := private.tidy_error(new.error_message); end if;
  end if;
  -- The transaction has its number before it draws a key: see move_cursors.
  if pg_current_xact_id() is not null then new.order_key := nextval('private.enqueue_order'); end if;
  return new;
end $$;

-- The rows of one INSERT together, so that they may name each other in any order.
create function private.admit_tasks() returns trigger language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_has_kin boolean := false;
  v_user uuid;
  v_named record;
  v_task record;
begin
  for v_user in select distinct a.user_id from added a where a.parent_id is not null or a.depends_on <> '{}' order by 1 loop
    v_has_kin := true;
    perform private.lock_owner(v_user);
  end loop;
  if v_has_kin then
    select a.id, d.id as other, d.field into v_named
      from added a
      cross join lateral (
        select e.id, e.n, 'depends_on' as field from unnest(a.depends_on) with ordinality as e (id, n)
        union all select a.parent_id, 2147483647, 'parent_id' where a.parent_id is not null
      ) d
      where not exists (select from public.tasks t where t.id = d.id and t.user_id = a.user_id)
      order by a.order_key, d.n limit 1;
    if found then
      perform private.refuse('LT003', format('%s names %s, which is no task.', v_named.field, v_named.other),
        'Enqueue it first, or in the same batch.', jsonb_build_object('field', v_named.field));
    end if;
    insert into public.task_dependencies (task_id, position, depends_on, user_id)
      select a.id, d.n - 1, d.id, a.user_id from added a, unnest(a.depends_on) with ordinality as d (id, n)
      where a.id <> d.id;
    perform private.refuse_cycles(array(select a.id from added a order by a.order_key));
    -- Waits for whoever is completing one of these at this moment, and from now on is waited for.
    update private.queue q set has_kin = true
      where not q.has_kin and q.task_id in (
        select unnest(a.depends_on) from added a union select a.parent_id from added a where a.parent_id is not null);
    select t.id, t.status into v_named from added a join public.tasks t on t.id = a.parent_id
      where t.status in ('Complete', 'Failed', 'Cancelled') and a.status = 'Queued' order by a.order_key limit 1;
    if found then
      perform private.refuse('LT007', format('parent_id names %s, which is %s: it can have no more children.', v_named.id, v_named.status),
        'Retry the parent if it failed, or enqueue without a parent.',
        jsonb_build_object('field', 'parent_id', 'task_id', v_named.id));
    end if;
  end if;
  insert into private.queue (task_id, user_id, task_type, priority, order_key, place, unmet, scheduled_at, claim_token, has_kin)
    select a.id, a.user_id, a.task_type, a.priority, a.order_key,
      case when a.status = 'Queued' then private.place_of(needs.unmet, a.scheduled_at) when a.waiting then 'waiting'
        when a.status = 'In Progress' then 'held' else 'ended' end::private.place,
      needs.unmet, a.scheduled_at, case when a.lease_expires_at is not null then gen_random_uuid() end,
      -- A limit and no `exists`, which PostgreSQL may answer by one walk over all tasks there are.
      a.parent_id is not null or a.depends_on <> '{}'
        or (select true from public.task_dependencies e where e.depends_on = a.id limit 1) is not null
        or (select true from public.tasks c where c.parent_id = a.id limit 1) is not null
    from added a
    -- By primary key: counting over the edges just written has no statistics, and takes for ever for a large batch.
    cross join lateral (
      select count(*) filter (where t.status <> 'Complete')::integer as unmet
      from unnest(a.depends_on) as d (id) left join public.tasks t on t.id = d.id
    ) needs
    where a.status <> 'Complete' order by a.order_key;
  insert into private.cursors (priority, low) select distinct a.priority, 0 from added a
    where not exists (select from private.cursors c where c.priority = a.priority)
    on conflict do nothing;
  if v_has_kin then  -- what waits for a task that has ended badly ends like it
    for v_task in select a.id from added a order by a.order_key loop
      perform private.fall_if_held_down(v_task.id);
    end loop;
  end if;
  perform nextval('private.pulse');
  return null;
end $$;

-- Where a queued task stands.
create function private.place_of(p_unmet integer, p_scheduled_at timestamptz)
returns private.place language sql volatile set search_path = '' as $$
  select (case when p_unmet > 0 then 'blocked' when p_scheduled_at > private.now() then 'delayed' else 'ready' end)::private.place
$$;

-- Refuses LT004. A task waits for its dependencies and a parent for its children: together they must form no cycle.
-- Every cycle that new rows close leads through one that names a later row of its batch, or through a parent.
create function private.refuse_cycles(p_ids uuid[]) returns void language plpgsql set search_path = '' as $$
declare
  v_start uuid;
  v_ring uuid[];
begin
  for v_start in
    select t.id from public.tasks t where t.id = any (p_ids) and exists (
      select from unnest(t.depends_on) as d (id) join public.tasks later on later.id = d.id and later.order_key >= t.order_key)
    union
    select t.parent_id from public.tasks t where t.id = any (p_ids) and t.parent_id is not null
  loop
    with recursive needs (id) as (
        select w.id from private.waits_for(v_start) w
        union select w.id from needs n cross join lateral private.waits_for(n.id) w
      ), needed_by (id) as (
        select v_start
        union select w.id from needed_by n cross join lateral (
          select e.task_id as id from public.task_dependencies e where e.depends_on = n.id
          union all select t.parent_id from public.tasks t where t.id = n.id and t.parent_id is not null) w
      )
      select array_agg(t.id order by t.order_key) into v_ring
        from public.tasks t
        where t.id in (select id from needs) and exists (select from needs n where n.id = v_start)
          and t.id in (select id from needed_by);
    if v_ring is not null then
      perform private.refuse('LT004', format('These tasks would wait for each other for ever: %s.', array_to_string(v_ring, ', ')),
        'A task waits for its dependencies, and a parent for its children. Drop one of these links.', '{"field": "depends_on"}');
    end if;
  end loop;
end $$;

create function private.waits_for(p_id uuid) returns table (id uuid) language sql stable set search_path = '' rows 5 as $$
  select d.id from public.tasks t, pg_catalog.unnest(t.depends_on) as d (id) where t.id = p_id
  union all select c.id from public.tasks c where c.parent_id = p_id
$$;

create trigger stamp_task before insert on public.tasks for each row execute function private.stamp_task();
create trigger admit_tasks after insert on public.tasks referencing new table as added
  for each statement execute function private.admit_tasks();

-- The functions of the queue set updated_at themselves; this is for whoever edits one of the other columns by hand.
create function private.touch() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  new.updated_at := private.now();
  return new;
end $$;
create trigger touch before update of task_type, params, priority, mandate, brief_id, correlation_id on public.tasks
  for each row execute function private.touch();
create trigger touch before update on public.briefs for each row execute function private.touch();

-- Stores all tasks or none, and answers [{task, created}] in their order. The same id and body again is the stored task
-- (I8); without an id, the same correlation_id and body. Refuses LT001, LT003, LT004, LT005, LT007.
create function public.enqueue_tasks(p_tasks jsonb, p_user_id uuid default null)
returns json language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  v_specs public.tasks[] := private.read_specs(p_tasks, v_user);
  v_new public.tasks[] := '{}';
  v_seen jsonb := '{}';  -- ids and correlation ids of this batch
  v_ids uuid[] := '{}';
  v_created boolean[] := '{}';
  v_known uuid;
  v_answer json;
  t public.tasks;
begin
  -- Before anything is looked up: a batch and its repetition must not meet.
  perform private.lock_owner(s.user_id) from (select distinct (unnest(v_specs)).user_id order by 1) s
    where exists (select from unnest(v_specs) x where x.user_id = s.user_id and (x.parent_id is not null or x.depends_on <> '{}'));
  foreach t in array v_specs loop
    v_known := private.stored(t, v_seen);
    if v_known is null then
      t.id := coalesce(t.id, gen_random_uuid());
      v_new := v_new || t;
      v_seen := v_seen || jsonb_build_object('i' || t.id, t.body_hash);
      if t.correlation_id is not null then
        v_seen := v_seen || jsonb_build_object('c' || t.user_id || t.correlation_id, jsonb_build_array(t.id, t.body_hash));
      end if;
    end if;
    v_ids := v_ids || coalesce(v_known, t.id);
    v_created := v_created || (v_known is null);
  end loop;
  begin
    insert into public.tasks (id, task_type, params, dependant_on, depends_on, project_id, user_id, parent_id, brief_id,
        max_attempts, scheduled_at, priority, mandate, max_ticks, correlation_id, body_hash)
      select n.id, n.task_type, n.params, n.dependant_on, n.depends_on, n.project_id, n.user_id, n.parent_id, n.brief_id,
        n.max_attempts, n.scheduled_at, n.priority, n.mandate, n.max_ticks, n.correlation_id, n.body_hash
      from unnest(v_new) n;
  exception when unique_violation then
    -- Somebody enqueued one of these at the same moment and has committed by now: now it is found.
    return public.enqueue_tasks(p_tasks, p_user_id);
  end;
  select coalesce(json_agg(json_build_object('task', row_to_json(stored), 'created', asked.created) order by asked.n), '[]')
    into v_answer
    from unnest(v_ids, v_created) with ordinality as asked (id, created, n) join public.tasks stored on stored.id = asked.id;
  return v_answer;
end $$;

-- The specs as rows that may be stored. Refuses LT001 naming the field, also a field that is nobody's or the server's.
create function private.read_specs(p_tasks jsonb, p_user_id uuid) returns public.tasks[] language plpgsql set search_path = '' as $$
declare
  v_specs public.tasks[] := '{}';
  v_spec jsonb;
  v_field text;
  t public.tasks;
begin
  perform private.check_batch(p_tasks);
  for v_spec in select * from jsonb_array_elements(p_tasks) loop
    if jsonb_typeof(v_spec) <> 'object' then
      perform private.refuse('LT001', 'One of the tasks is no object.', 'Send a list of objects.', '{"field": "tasks"}');
    end if;
    v_field := (select key from jsonb_object_keys(v_spec) as key where key <> all (array['id', 'task_type', 'params', 'project_id',
      'depends_on', 'dependant_on', 'parent_id', 'priority', 'scheduled_at', 'max_attempts', 'correlation_id', 'brief_id', 'mandate',
      'max_ticks']) limit 1);
    if v_field is not null then
      perform private.refuse('LT001', format('%s is no field that a client may set.', v_field), 'Leave it out.',
        jsonb_build_object('field', v_field));
    end if;
    t := null;
    t.task_type := private.text_field(v_spec, 'task_type');
    t.params := v_spec -> 'params';
    t.id := private.uuid_field(v_spec, 'id');
    t.project_id := private.uuid_field(v_spec, 'project_id');
    t.dependant_on := private.uuid_field(v_spec, 'dependant_on');
    t.depends_on := private.uuids_field(v_spec, 'depends_on');
    t.parent_id := private.uuid_field(v_spec, 'parent_id');
    t.brief_id := private.uuid_field(v_spec, 'brief_id');
    t.priority := coalesce(private.integer_field(v_spec, 'priority'), 0);
    t.max_attempts := coalesce(private.integer_field(v_spec, 'max_attempts'), 3);
    t.max_ticks := private.integer_field(v_spec, 'max_ticks');
    t.scheduled_at := private.moment_field(v_spec, 'scheduled_at');
    t.correlation_id := private.text_field(v_spec, 'correlation_id');
    t.mandate := private.text_field(v_spec, 'mandate');
    v_specs := v_specs || private.checked(t, p_user_id);
  end loop;
  return v_specs;
end $$;

create function private.field_of(p_spec jsonb, p_field text, p_type text, p_hint text) returns text language plpgsql set search_path = '' as $$
begin
  if jsonb_typeof(p_spec -> p_field) not in (p_type, 'null') then
    perform private.refuse_field(p_field, p_spec ->> p_field, p_hint);
  end if;
  return p_spec ->> p_field;
end $$;

create function private.text_field(p_spec jsonb, p_field text) returns text language sql set search_path = '' as $$
  select private.field_of(p_spec, p_field, 'string', 'Send a text.')
$$;

create function private.uuid_field(p_spec jsonb, p_field text) returns uuid language plpgsql set search_path = '' as $$
declare
  v_text text := private.text_field(p_spec, p_field);
begin
  if v_text is not null and private.as_uuid(v_text) is null then
    perform private.refuse_field(p_field, v_text, 'Use a UUID such as ''0b9f4a52-6f0c-4c53-9d5e-0c3a5cb0a7d1''.');
  end if;
  return private.as_uuid(v_text);
end $$;

create function private.uuids_field(p_spec jsonb, p_field text) returns uuid[] language plpgsql set search_path = '' as $$
declare
  v_list jsonb := private.field_of(p_spec, p_field, 'array', 'Give a list of task ids.')::jsonb;
begin
  return coalesce((select array_agg(private.uuid_field(jsonb_build_object(p_field, each), p_field) order by n)
    from jsonb_array_elements(case when jsonb_typeof(v_list) = 'array' then v_list else '[]' end) with ordinality as e (each, n)), '{}');
end $$;

create function private.integer_field(p_spec jsonb, p_field text) returns integer language plpgsql set search_path = '' as $$
declare
  v_number numeric := private.field_of(p_spec, p_field, 'number', 'Use a whole number.')::numeric;
begin
  if v_number <> trunc(v_number) or abs(v_number) > 2147483647 then
    perform private.refuse_field(p_field, v_number::text, 'Use a whole number.');
  end if;
  return v_number;
end $$;

create function private.moment_field(p_spec jsonb, p_field text) returns timestamptz language plpgsql set search_path = '' as $$
declare
  v_text text := private.text_field(p_spec, p_field);
begin
  if v_text !~* '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$' then
    raise invalid_datetime_format;
  end if;
  return v_text::timestamptz;
exception when invalid_datetime_format or datetime_field_overflow then
  perform private.refuse_field(p_field, v_text, 'Give a moment with a time zone, such as ''2030-01-01T12:00:00Z''.');
  return null;
end $$;

-- The stored task that a spec means, or one of the same batch; id is null when there is none. Refuses LT005.
create function private.stored(t public.tasks, p_seen jsonb) returns uuid language plpgsql set search_path = '' as $$
declare
  v_found record;
  v_id uuid;
begin
  select x.id, x.user_id, x.body_hash into v_found from public.tasks x where x.id = t.id;
  if found and (v_found.user_id <> t.user_id or v_found.body_hash <> t.body_hash)
      or (p_seen ->> ('i' || t.id))::bigint <> t.body_hash then
    perform private.refuse('LT005', format('Task %s exists with another body.', t.id),
      'Use a new id, or send the first body again to get its task.', jsonb_build_object('field', 'id', 'task_id', t.id));
  end if;
  v_id := coalesce(v_found.id, case when p_seen ? ('i' || t.id) then t.id end);
  if v_id is not null or t.correlation_id is null then
    return v_id;
  end if;
  select x.id, x.body_hash into v_found from public.tasks x
    where x.user_id = t.user_id and x.correlation_id = t.correlation_id;
  if not found then
    select (s.entry ->> 0)::uuid as id, (s.entry ->> 1)::bigint as body_hash into v_found
      from (select p_seen -> ('c' || t.user_id || t.correlation_id) as entry) s where s.entry is not null;
  end if;
  if v_found.id is not null and (v_found.body_hash <> t.body_hash or t.id is not null) then
    perform private.refuse('LT005', format('correlation_id %s belongs to task %s, which has another id or body.',
        quote_literal(t.correlation_id), v_found.id),
      'Use a new correlation_id, or send the first body again without an id.',
      jsonb_build_object('field', 'correlation_id', 'task_id', v_found.id));
  end if;
  return v_found.id;
end $$;
