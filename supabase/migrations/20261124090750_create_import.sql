-- Rows from another queue, with all that has happened to them. For the service.

-- Stores the tasks that are not there yet, all or none, and answers [{id, imported}] in their order. The rows are checked
-- like any other, except that they may have ended already. Refuses LT001, LT003, LT004, LT005, LT007.
create function public.import_tasks(p_tasks jsonb) returns json language plpgsql security definer set search_path = '' as $$
declare
  v_known uuid[];
  v_taken record;
begin
  perform private.service_only('imports');
  perform private.check_batch(p_tasks);
  if exists (select from jsonb_array_elements(p_tasks) e where private.as_uuid(e ->> 'id') is null) then
    perform private.refuse('LT001', 'A task has no id.', 'Give each the id it has always had: by it a repetition is known.',
      '{"field": "id"}');
  end if;
  v_known := array(select t.id from jsonb_array_elements(p_tasks) e join public.tasks t on t.id = private.as_uuid(e ->> 'id'));
  select t.id, t.correlation_id into v_taken
    from jsonb_array_elements(p_tasks) with ordinality as e (entry, n)
    join public.projects p on p.id = private.as_uuid(e.entry ->> 'project_id')
    join public.tasks t on t.user_id = p.user_id and t.correlation_id = e.entry ->> 'correlation_id'
    where t.id <> private.as_uuid(e.entry ->> 'id') order by e.n limit 1;
  if found then
    perform private.refuse('LT005', format('correlation_id %s belongs to task %s.', quote_literal(v_taken.correlation_id), v_taken.id),
      'It is the same task under another id: keep one of them.', jsonb_build_object('field', 'correlation_id', 'task_id', v_taken.id));
  end if;
  insert into public.tasks (id, task_type, params, status, depends_on, output_location, error_message, result, project_id,
      parent_id, root_task_id, worker_id, attempts, max_attempts, waiting, scheduled_at, priority, mandate, tick, max_ticks,
      correlation_id, flow_run_id, created_at, updated_at, generation_started_at, generation_processed_at)
    select r.id, r.task_type, r.params, r.status, coalesce(r.depends_on, '{}'), r.output_location, r.error_message, r.result,
      r.project_id, r.parent_id, r.root_task_id, r.worker_id, coalesce(r.attempts, 0), coalesce(r.max_attempts, 3),
      coalesce(r.waiting, false), r.scheduled_at, coalesce(r.priority, 0), r.mandate, r.tick, r.max_ticks,
      r.correlation_id, r.flow_run_id, r.created_at, r.updated_at, r.generation_started_at, r.generation_processed_at
    from jsonb_array_elements(p_tasks) with ordinality as e (entry, n)
    cross join lateral jsonb_populate_record(null::public.tasks, e.entry) r
    where r.id <> all (v_known)
    order by e.n;
  return (select coalesce(json_agg(json_build_object('id', e.entry ->> 'id', 'imported', private.as_uuid(e.entry ->> 'id') <> all (v_known))
    order by e.n), '[]') from jsonb_array_elements(p_tasks) with ordinality as e (entry, n));
end $$;
