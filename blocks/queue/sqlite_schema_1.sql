-- Version 1: the queue of one user in one file.
-- Column names are those of the Postgres table. uuid and timestamps are text, JSON is text, booleans are 0 or 1.
-- Timestamps are UTC with six decimals, always 32 characters, because they are compared as text.

create table workers (
  id             text not null primary key,
  instance_type  text,
  status         text not null default 'active',
  last_heartbeat text,
  current_model  text,
  metadata       text not null default '{}',
  constraint worker_id_length check (length(id) between 1 and 128)
) strict, without rowid;

create table tasks (
  -- The order of enqueue, and so of claims within a priority. A store of one user needs no fairer order than age.
  order_key     integer primary key,
  id            text not null unique,
  task_type     text not null,
  status        text not null,
  project_id    text not null,
  user_id       text not null,
  parent_id     text references tasks (id) deferrable initially deferred,
  brief_id      text,
  priority      integer not null,
  -- How many dependencies are not Complete. The triggers below keep it; nothing else writes it.
  unmet         integer not null default 0,
  attempts      integer not null,
  max_attempts  integer not null,
  waiting       integer not null,
  worker_id     text references workers (id),
  claim_token   text,
  closed_token  text,
  claim_request_id text,
  start_request_id text,
  lease_expires_at text,
  scheduled_at  text,
  output_location text,
  error_message text,
  result        text,
  root_task_id  text references tasks (id) deferrable initially deferred,
  tick          integer,
  max_ticks     integer,
  mandate       text,
  correlation_id text,
  flow_run_id   text,
  created_at    text not null,
  updated_at    text not null,
  generation_started_at   text,
  generation_processed_at text,
  body_digest   text not null,
  -- Last, since it can be long: reading the other columns then does not walk its overflow pages.
  params        text not null,

  constraint id_is_canonical check (length(id) = 36 and id = lower(id)),
  constraint status_known check (status in ('Queued', 'In Progress', 'Complete', 'Failed', 'Cancelled')),
  constraint task_type_named check (length(task_type) between 1 and 200),
  constraint priority_in_range check (priority between -1000 and 1000),
  constraint unmet_not_negative check (unmet >= 0),
  constraint unmet_blocks check (unmet = 0 or status not in ('In Progress', 'Complete')),
  constraint attempts_within_max check (attempts between 0 and max_attempts and max_attempts >= 1),
  constraint queued_has_attempts_left check (status <> 'Queued' or attempts < max_attempts),
  constraint waiting_only_in_progress check (waiting = 0 or (waiting = 1 and status = 'In Progress')),
  constraint held_has_lease check ((status = 'In Progress' and waiting = 0) = (lease_expires_at is not null)),
  constraint held_has_token_and_worker
    check (lease_expires_at is null or (claim_token is not null and worker_id is not null)),
  constraint queued_has_no_token check (status <> 'Queued' or claim_token is null),
  constraint scheduled_only_queued check (scheduled_at is null or status = 'Queued'),
  constraint ended_has_its_moment
    check ((status in ('Complete', 'Failed', 'Cancelled')) = (generation_processed_at is not null)),
  constraint root_only_of_ended
    check (root_task_id is null or (root_task_id <> id and status in ('Complete', 'Failed', 'Cancelled'))),
  constraint complete_has_no_error check (status <> 'Complete' or error_message is null),
  constraint failed_says_why check (status not in ('Failed', 'Cancelled') or error_message is not null),
  constraint ticks_in_range check (coalesce(tick, 0) >= 0 and coalesce(max_ticks, 1) >= 1),
  constraint parent_is_another check (parent_id is null or parent_id <> id),
  constraint moments_are_comparable
    check (length(coalesce(scheduled_at, created_at)) = 32 and length(coalesce(lease_expires_at, created_at)) = 32
      and length(coalesce(generation_processed_at, created_at)) = 32 and length(created_at) = 32),
  constraint params_are_an_object check (json_valid(params) and json_type(params) = 'object'),
  constraint params_are_bounded check (length(cast(params as blob)) <= 262144),
  constraint result_is_an_object check (result is null or (json_valid(result) and json_type(result) = 'object'))
) strict;

create table task_dependencies (
  task_id    text not null references tasks (id) on delete cascade,
  position   integer not null,
  depends_on text not null references tasks (id) deferrable initially deferred,
  constraint dependency_is_another check (task_id <> depends_on),
  primary key (task_id, position),
  unique (depends_on, task_id)
) strict, without rowid;

-- Ready = Queued, no unmet dependency, not delayed. These two hold ready rows only, so a claim sees no others.
create index tasks_ready on tasks (priority desc, order_key)
  where status = 'Queued' and unmet = 0 and scheduled_at is null;
create index tasks_ready_of_type on tasks (task_type, priority desc, order_key)
  where status = 'Queued' and unmet = 0 and scheduled_at is null;
-- Rows with a moment to wait for; a claim promotes those that are due, by one probe.
create index tasks_delayed on tasks (scheduled_at) where status = 'Queued' and scheduled_at is not null;
create index tasks_blocked on tasks (unmet) where status = 'Queued' and unmet > 0;
create index tasks_held on tasks (lease_expires_at) where lease_expires_at is not null;
create index tasks_ended on tasks (generation_processed_at) where generation_processed_at is not null;
create index tasks_by_status on tasks (status, order_key);
create index tasks_by_parent on tasks (parent_id, order_key) where parent_id is not null;
create index tasks_by_root on tasks (root_task_id, order_key) where root_task_id is not null;
create index tasks_by_claim_request on tasks (claim_request_id) where claim_request_id is not null;
create unique index tasks_by_correlation on tasks (user_id, correlation_id) where correlation_id is not null;
create index segments_by_run on tasks (json_extract(params, '$.orchestrator_run_id'))
  where task_type = 'travel_segment';

-- A row as the code reads it.
create view task_rows as
  select tasks.*, (
    select json_group_array(named.depends_on)
      from (select depends_on from task_dependencies where task_id = tasks.id order by position) as named
  ) as depends_on
  from tasks;

-- unmet counts the dependencies that are not Complete. First when an edge is written …
create trigger dependency_counts after insert on task_dependencies
  when (select status from tasks where id = new.depends_on) <> 'Complete'
begin
  update tasks set unmet = unmet + 1 where id = new.task_id;
end;

-- … then whenever a task becomes Complete, or stops being so.
create trigger completion_counts after update of status on tasks
  when (new.status = 'Complete') <> (old.status = 'Complete')
begin
  update tasks set unmet = unmet + (old.status = 'Complete') - (new.status = 'Complete')
    where id in (select task_id from task_dependencies where depends_on = new.id);
end;
