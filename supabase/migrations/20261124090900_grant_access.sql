-- Who may do what. Nothing is granted by default: new tables are not exposed, and functions are nobody's until named here.

-- In public by name: the app that the users belong to has tables and functions of its own there.
revoke all on public.projects, public.workers, public.briefs, public.tasks, public.task_dependencies, public.user_api_token,
  public.jobs, public.job_stats, public.active_jobs, public.pending_jobs_queue from anon, authenticated, service_role;
revoke execute on function
  public.enqueue_tasks, public.func_add_task, public.claim_tasks, public.claim_job,
  public.func_claim_available_task, public.func_claim_task, public.func_claim_user_task, public.start_task,
  public.dispatched_task, public.renew_task, public.wait_task, public.complete_task, public.fail_task,
  public.release_task, public.upload_target, public.func_update_task_status, public.complete_task_with_timing,
  public.func_mark_task_failed, public.complete_job, public.fail_job, public.cancel_task, public.retry_task,
  public.get_task, public.task_children, public.list_tasks, public.task_counts, public.task_predecessors,
  public.completed_segments, public.func_get_completed_generation_segments_for_stitch, public.create_token,
  public.list_tokens, public.revoke_token, public.note_worker, public.list_workers, public.rescue_tasks,
  public.prune_tasks, public.resolve_token, public.import_tasks, public.longtake_health, public.queue_pulse,
  public.longtake_schema_version, public.func_initialize_tasks_table, public.func_migrate_tasks_for_task_type
  from public, anon, authenticated, service_role;
revoke all on all tables in schema private from public, anon, authenticated, service_role;
revoke execute on all functions in schema private from public, anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;

-- Users read what is theirs and insert what a client may say. What happens to a task is done by functions.
grant select on public.projects, public.briefs, public.tasks, public.task_dependencies to authenticated;
grant insert (id, name), update (name), delete on public.projects to authenticated;
grant insert (id, project_id, title, description, query, media_type, use_pipeline), update (title, description, query), delete
  on public.briefs to authenticated;
grant insert (id, task_type, params, project_id, dependant_on, depends_on, parent_id, brief_id, priority, scheduled_at,
  max_attempts, mandate, max_ticks, correlation_id) on public.tasks to authenticated;

create policy projects_are_their_owners on public.projects for all to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy briefs_are_their_owners on public.briefs for all to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy tasks_are_read_by_their_owner on public.tasks for select to authenticated
  using (user_id = (select auth.uid()));
create policy tasks_are_enqueued_by_their_owner on public.tasks for insert to authenticated
  with check (user_id = (select auth.uid()));
create policy dependencies_are_read_by_their_owner on public.task_dependencies for select to authenticated
  using (user_id = (select auth.uid()));

-- The service passes row-level security and still has no right to write what the functions keep true.
grant select on public.projects, public.briefs, public.tasks, public.task_dependencies, public.workers, public.user_api_token
  to service_role;
grant insert (id, user_id, name), update (name), delete on public.projects to service_role;
grant insert (id, user_id, project_id, title, description, query, media_type, use_pipeline, status),
  update (title, description, query, status), delete on public.briefs to service_role;
grant insert (id, task_type, params, project_id, dependant_on, depends_on, parent_id, brief_id, priority, scheduled_at,
  max_attempts, mandate, max_ticks, correlation_id) on public.tasks to service_role;
grant insert, update on public.workers to service_role;
grant insert (user_id, jti_hash, label, prefix, scopes, expires_at), update (label, expires_at, revoked_at)
  on public.user_api_token to service_role;

grant execute on function
  public.enqueue_tasks, public.claim_tasks, public.start_task, public.dispatched_task, public.renew_task, public.wait_task,
  public.complete_task, public.fail_task, public.release_task, public.cancel_task, public.retry_task,
  public.get_task, public.task_children, public.list_tasks, public.task_counts, public.task_predecessors,
  public.completed_segments, public.queue_pulse, public.upload_target, public.note_worker, public.list_workers,
  public.create_token, public.list_tokens, public.revoke_token, public.longtake_schema_version
  to authenticated, service_role;
grant execute on function
  public.func_claim_available_task, public.func_claim_task, public.func_claim_user_task, public.func_update_task_status,
  public.complete_task_with_timing, public.func_mark_task_failed, public.func_add_task,
  public.func_get_completed_generation_segments_for_stitch, public.func_initialize_tasks_table,
  public.func_migrate_tasks_for_task_type, public.claim_job, public.complete_job, public.fail_job
  to authenticated, service_role;
grant select on public.jobs, public.job_stats, public.active_jobs, public.pending_jobs_queue to authenticated, service_role;
grant execute on function public.rescue_tasks, public.prune_tasks, public.resolve_token, public.import_tasks,
  public.longtake_health to service_role;
