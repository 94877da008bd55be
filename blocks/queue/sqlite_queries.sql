-- Every statement of the SQLite backend. `-- name:` begins one, the comment below it says what it promises.

-- name: row_by_id
select * from task_rows where id = :id;

-- name: row_by_correlation
select * from task_rows where user_id = :user_id and correlation_id = :correlation_id;

-- name: rows_by_claim_request
select * from task_rows where claim_request_id = :request_id order by order_key;

-- name: children
select * from task_rows where parent_id = :parent_id order by order_key;

-- name: dependents
-- Sorted: there are few, and the order decides which of several causes a task names.
select task_rows.* from task_dependencies as edge join task_rows on task_rows.id = edge.task_id
  where edge.depends_on = :id order by task_rows.order_key;

-- name: ended_because_of
select * from task_rows where root_task_id = :root_task_id order by order_key;

-- name: promote_due
-- Delayed rows whose moment has come join the ready ones. Usually finds none, by one probe of tasks_delayed.
update tasks indexed by tasks_delayed set scheduled_at = null
  where status = 'Queued' and scheduled_at is not null and scheduled_at <= :now;

-- name: ready_next
-- The head of the ready rows. `indexed by` makes any other plan an error instead of a scan.
select id, priority, order_key from tasks indexed by tasks_ready
  where status = 'Queued' and unmet = 0 and scheduled_at is null
  order by priority desc, order_key limit :limit;

-- name: ready_of_type
select id, priority, order_key from tasks indexed by tasks_ready_of_type
  where status = 'Queued' and unmet = 0 and scheduled_at is null and task_type = :task_type
  order by priority desc, order_key limit :limit;

-- name: ready_by_id
select id, priority, order_key, task_type from tasks
  where id = :id and status = 'Queued' and unmet = 0 and scheduled_at is null;

-- name: expired
select id from tasks indexed by tasks_held
  where lease_expires_at is not null and lease_expires_at <= :now order by lease_expires_at limit :limit;

-- name: ended_before
select id from tasks where generation_processed_at < :moment order by generation_processed_at, order_key;

-- name: counts
-- Each total from an index of its own; a due row counts as ready, as the next claim will promote it.
select
  (select count(*) from tasks indexed by tasks_ready
    where status = 'Queued' and unmet = 0 and scheduled_at is null)
  + (select count(*) from tasks indexed by tasks_delayed
    where status = 'Queued' and scheduled_at is not null and scheduled_at <= :now and unmet = 0) as ready,
  (select count(*) from tasks indexed by tasks_blocked where status = 'Queued' and unmet > 0) as blocked,
  (select count(*) from tasks indexed by tasks_delayed
    where status = 'Queued' and scheduled_at is not null and scheduled_at > :now and unmet = 0) as delayed,
  (select count(*) from tasks indexed by tasks_held where lease_expires_at is not null) as in_progress,
  (select count(*) from tasks where status = 'In Progress')
  - (select count(*) from tasks indexed by tasks_held where lease_expires_at is not null) as waiting,
  (select count(*) from tasks where status = 'Complete') as complete,
  (select count(*) from tasks where status = 'Failed') as failed,
  (select count(*) from tasks where status = 'Cancelled') as cancelled;

-- name: ready_by_type
select task_type, sum(n) as n from (
  select task_type, count(*) as n from tasks indexed by tasks_ready_of_type
    where status = 'Queued' and unmet = 0 and scheduled_at is null group by task_type
  union all
  select task_type, count(*) from tasks indexed by tasks_delayed
    where status = 'Queued' and scheduled_at is not null and scheduled_at <= :now and unmet = 0 group by task_type
) group by task_type order by task_type;

-- name: completed_segments
-- Two probes, as one condition with `or` would read every Complete task. The newest of each index wins, so that a
-- segment made again replaces the first.
with segments as (
  select id, order_key, status, output_location, params from tasks indexed by segments_by_run
    where task_type = 'travel_segment' and json_extract(params, '$.orchestrator_run_id') = :run_id
  union
  select id, order_key, status, output_location, params from tasks indexed by tasks_by_parent
    where task_type = 'travel_segment' and parent_id = :run_id
), ranked as (
  select json_extract(params, '$.segment_index') as segment_index, id, output_location,
      row_number() over (partition by json_extract(params, '$.segment_index') order by order_key desc) as newest
    from segments
    where status = 'Complete' and output_location is not null and json_type(params, '$.segment_index') = 'integer'
)
select segment_index, id, output_location from ranked where newest = 1 order by segment_index;

-- name: list
-- Walks from the newest and stops at the limit.
select * from task_rows
  where (:task_type is null or task_type in (select value from json_each(:task_type)))
    and (:project_id is null or project_id = :project_id)
  order by order_key desc limit :limit;

-- name: list_of_status
-- One status at a time: of several, the index gives each newest first, and the caller merges.
select * from task_rows
  where status = :status
    and (:task_type is null or task_type in (select value from json_each(:task_type)))
    and (:project_id is null or project_id = :project_id)
  order by order_key desc limit :limit;

-- name: list_of_parent
select * from task_rows
  where parent_id = :parent_id
    and (:status is null or status in (select value from json_each(:status)))
    and (:task_type is null or task_type in (select value from json_each(:task_type)))
    and (:project_id is null or project_id = :project_id)
  order by order_key desc limit :limit;

-- name: insert_task
insert into tasks (
    id, task_type, status, project_id, user_id, parent_id, brief_id, priority, attempts, max_attempts, waiting,
    scheduled_at, max_ticks, mandate, correlation_id, created_at, updated_at, body_digest, params
  ) values (
    :id, :task_type, :status, :project_id, :user_id, :parent_id, :brief_id, :priority, :attempts, :max_attempts,
    :waiting, :scheduled_at, :max_ticks, :mandate, :correlation_id, :created_at, :updated_at, :body_digest, :params
  );

-- name: insert_dependency
insert into task_dependencies (task_id, position, depends_on) values (:task_id, :position, :depends_on);

-- name: put
-- All that can change in the life of a row; what the client said about it is not among them.
update tasks set
    status = :status, attempts = :attempts, max_attempts = :max_attempts, waiting = :waiting, worker_id = :worker_id,
    claim_token = :claim_token, closed_token = :closed_token, claim_request_id = :claim_request_id,
    start_request_id = :start_request_id, lease_expires_at = :lease_expires_at, scheduled_at = :scheduled_at,
    output_location = :output_location, error_message = :error_message, result = :result,
    root_task_id = :root_task_id, tick = :tick, max_ticks = :max_ticks, flow_run_id = :flow_run_id,
    updated_at = :updated_at, generation_started_at = :generation_started_at,
    generation_processed_at = :generation_processed_at
  where id = :id;

-- name: delete
delete from tasks where id = :id;

-- name: register_worker
insert into workers (id, last_heartbeat) values (:id, :now) on conflict do nothing;

-- name: put_worker
insert into workers (id, last_heartbeat, current_model, metadata) values (:id, :now, :current_model, :metadata)
  on conflict do update set
    last_heartbeat = excluded.last_heartbeat, current_model = excluded.current_model, metadata = excluded.metadata;

-- name: workers
select id, last_heartbeat, current_model, metadata from workers order by last_heartbeat desc, id limit :limit;
