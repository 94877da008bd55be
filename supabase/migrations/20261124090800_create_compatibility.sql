-- The names by which older clients know the queue. Thin: each translates to a verb and keeps that verb's rules.
-- An old client shows no claim token and never renews, so its claims start at once and hold for an hour.

-- Any parameter that names a table accepts one name.
create function private.only_tasks(p_table_name text) returns void language plpgsql immutable set search_path = '' as $$
begin
  if p_table_name is distinct from 'tasks' then
    perform private.refuse_field('p_table_name', p_table_name, 'The only table is ''tasks''.');
  end if;
end $$;

create function private.claim_as_old_client(p_worker_id text, p_user_id uuid, p_task_types text[] default null)
returns public.tasks language plpgsql set search_path = '' as $$
declare
  v_claim json := public.claim_tasks(p_worker_id, p_task_types => p_task_types, p_lease => 3600, p_start => true, p_user_id => p_user_id);
  t public.tasks;
begin
  select * into t from public.tasks x where x.id = (v_claim -> 0 -> 'task' ->> 'id')::uuid;
  return t;
end $$;

-- Claims the oldest available task for a worker, known or not.
create function public.func_claim_available_task(worker_id_param text)
returns table (id uuid, status public.task_status, attempts integer, worker_id text, generation_started_at timestamptz,
  task_data jsonb, created_at timestamptz, task_type text)
language sql security definer set search_path = '' as $$
  select t.id, t.status, t.attempts, t.worker_id, t.generation_started_at, t.params, t.created_at, t.task_type
  from private.claim_as_old_client(worker_id_param, null) t where t.id is not null
$$;

create function public.func_claim_task(p_table_name text, p_worker_id text)
returns table (task_id_out uuid, params_out jsonb, task_type_out text, project_id_out uuid)
language plpgsql security definer set search_path = '' as $$
begin
  perform private.only_tasks(p_table_name);
  return query select t.id, t.params, t.task_type, t.project_id
    from private.claim_as_old_client(p_worker_id, null) t where t.id is not null;
end $$;

-- The same for one user's tasks. Refuses LT009 when a user names another.
create function public.func_claim_user_task(p_table_name text, p_worker_id text, p_user_id text)
returns table (task_id_out uuid, params_out jsonb, task_type_out text, project_id_out uuid)
language plpgsql security definer set search_path = '' as $$
begin
  perform private.only_tasks(p_table_name);
  if private.as_uuid(p_user_id) is null then
    perform private.refuse_field('p_user_id', p_user_id, 'Use the UUID of a user.');
  end if;
  return query select t.id, t.params, t.task_type, t.project_id
    from private.claim_as_old_client(p_worker_id, private.as_uuid(p_user_id)) t where t.id is not null;
end $$;

-- A status from the holder: Complete, Failed (p_output_location is the error), Queued (hands it back), Cancelled, or
-- In Progress (p_output_location is a message). True, or a refusal: never a change of no row that looks like one.
create function public.func_update_task_status(
  p_task_id text, p_status text, p_table_name text default 'tasks', p_output_location text default null
) returns boolean language plpgsql security definer set search_path = '' as $$
begin
  perform private.only_tasks(p_table_name);
  case p_status
    when 'In Progress' then perform public.renew_task(p_task_id, p_lease => 3600, p_message => coalesce(p_output_location, ''));
    when 'Complete' then perform public.complete_task(p_task_id, p_output_location => p_output_location);
    when 'Failed' then perform public.fail_task(p_task_id, p_error => p_output_location);
    when 'Queued' then perform public.release_task(p_task_id);
    when 'Cancelled' then perform public.cancel_task(p_task_id);
    else perform private.refuse_field('status', p_status, 'Known: Queued, In Progress, Complete, Failed, Cancelled.');
  end case;
  return true;
end $$;

create function public.complete_task_with_timing(p_task_id text, p_output_location text)
returns boolean language plpgsql security definer set search_path = '' as $$
begin
  perform public.complete_task(p_task_id, p_output_location => p_output_location);
  return true;
end $$;

create function public.func_mark_task_failed(p_task_id text, p_error_message text)
returns boolean language plpgsql security definer set search_path = '' as $$
begin
  perform public.fail_task(p_task_id, p_error => p_error_message);
  return true;
end $$;

create function public.func_add_task(
  p_task_id text, p_params jsonb, p_task_type text, p_project_id text default null, p_dependant_on text default null,
  p_table_name text default 'tasks'
) returns boolean language plpgsql security definer set search_path = '' as $$
begin
  perform private.only_tasks(p_table_name);
  perform public.enqueue_tasks(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('id', p_task_id, 'task_type', p_task_type,
    'project_id', coalesce(p_project_id, p_params ->> 'project_id'), 'dependant_on', p_dependant_on)) || jsonb_build_object('params', p_params)));
  return true;
end $$;

create function public.func_get_completed_generation_segments_for_stitch(p_run_id text)
returns table (segment_index integer, output_location text) language sql stable security definer set search_path = '' as $$
  select (s ->> 'segment_index')::integer, s ->> 'output_location'
  from json_array_elements(public.completed_segments(p_run_id)) with ordinality as e (s, n) order by e.n
$$;

-- The schema comes with migrations: these only say that it is there.
create function public.func_initialize_tasks_table(p_table_name text default 'tasks')
returns boolean language plpgsql security definer set search_path = '' as $$
begin
  perform private.only_tasks(p_table_name);
  return true;
end $$;

create function public.func_migrate_tasks_for_task_type(p_table_name text default 'tasks')
returns boolean language plpgsql security definer set search_path = '' as $$
begin
  perform private.only_tasks(p_table_name);
  return true;
end $$;

-- Jobs: the same rows in the words of a job queue. The stages of a brief are task types.
create view public.jobs with (security_invoker = true, security_barrier = true) as
  select t.id, t.brief_id, t.user_id, t.project_id, t.task_type as type,
    case t.status when 'Queued' then 'pending' when 'In Progress' then 'processing' when 'Complete' then 'completed'
      else lower(t.status::text) end as status,
    t.priority, t.params as payload, t.result, t.error_message as error, t.attempts, t.max_attempts, t.worker_id, t.scheduled_at,
    t.created_at, t.updated_at, t.generation_started_at as started_at, t.generation_processed_at as completed_at
  from public.tasks t;
create view public.job_stats with (security_invoker = true, security_barrier = true) as
  select j.type, j.status, count(*) as count, min(j.created_at) as oldest, avg(j.completed_at - j.started_at) as average_duration
  from public.jobs j group by j.type, j.status;
create view public.active_jobs with (security_invoker = true, security_barrier = true) as
  select j.* from public.jobs j where j.status = 'processing';
create view public.pending_jobs_queue with (security_invoker = true, security_barrier = true) as
  select j.* from public.jobs j where j.status = 'pending' order by j.priority desc, j.created_at;

-- Claims the next stage of a brief; no row when there is none.
create function public.claim_job(p_worker_id text default 'worker', p_types text[] default null)
returns setof public.jobs language plpgsql security definer set search_path = '' as $$
declare
  v_types text[] := coalesce(p_types, array['analysis', 'asset_prep', 'storyboard', 'video_generation', 'image_processing',
    'text_analysis', 'render']);
  t public.tasks := private.claim_as_old_client(p_worker_id, null, v_types);
begin
  return query select j.* from public.jobs j where j.id = t.id;
end $$;

create function public.complete_job(p_job_id text, p_result jsonb default null)
returns boolean language plpgsql security definer set search_path = '' as $$
begin
  perform public.complete_task(p_job_id, p_output_location => p_result ->> 'output_location', p_result => p_result);
  return true;
end $$;

-- Tries again later while attempts are left, as job queues do.
create function public.fail_job(p_job_id text, p_error text default '')
returns boolean language plpgsql security definer set search_path = '' as $$
begin
  perform public.fail_task(p_job_id, p_error => p_error, p_retry => true);
  return true;
end $$;
