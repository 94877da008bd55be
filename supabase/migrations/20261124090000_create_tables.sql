-- The tables of Longtake and what holds for their rows.
--
-- Who may do what: users see what is theirs (row-level security) and insert what a client may say (column rights).
-- Everything else is done by functions, which run as the owner of the tables. So the owner must pass row-level
-- security, as the role `postgres` of a Supabase project does.
do $$
begin
  if not (select rolbypassrls or rolsuper from pg_roles where rolname = current_user) then
    raise exception 'Role % does not bypass row-level security, so the functions of Longtake would see no rows.', current_user
      using hint = 'Run the migrations as the role "postgres" of the Supabase project.';
  end if;
end $$;

-- Nothing in it is exposed over HTTP.
create schema private;
revoke all on schema private from public;
-- Functions are everybody's to execute until somebody says otherwise, and a default for one schema cannot say it: so
-- every migration that makes one ends with a revoke (a test looks).

create type public.task_status as enum ('Queued', 'In Progress', 'Complete', 'Failed', 'Cancelled');

create table public.projects (
  id         uuid not null primary key default gen_random_uuid(),
  user_id    uuid not null default auth.uid() references auth.users (id) on delete cascade,
  name       text not null default 'Project',
  created_at timestamptz not null default now(),
  constraint project_is_named check (char_length(name) between 1 and 200),
  -- What belongs to a project names its owner too: so a foreign key keeps both together.
  constraint projects_id_user_id_key unique (id, user_id)
);
create index projects_by_user on public.projects (user_id);

create table public.workers (
  id             text not null,
  -- Who claims with it. Null: the operator. Everybody names workers for himself, so no name tells of anybody else's.
  user_id        uuid references auth.users (id) on delete cascade,
  instance_type  text,
  status         text not null default 'active',
  last_heartbeat timestamptz not null default now(),
  current_model  text,
  metadata       jsonb not null default '{}',
  constraint worker_id_length check (char_length(id) between 1 and 128),
  constraint workers_id_user_id_key unique nulls not distinct (id, user_id)
);
create index workers_by_user on public.workers (user_id);

create table public.briefs (
  id           uuid not null primary key default gen_random_uuid(),
  user_id      uuid not null default auth.uid(),
  project_id   uuid not null,
  title        text not null,
  description  text,
  query        text,
  media_type   text not null default 'video',
  use_pipeline boolean not null default true,
  status       text not null default 'draft',
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now(),
  constraint brief_media_type check (media_type in ('video', 'image', 'audio', 'text')),
  constraint brief_title_length check (char_length(title) between 1 and 500),
  constraint brief_of_own_project foreign key (project_id, user_id)
    references public.projects (id, user_id) on update cascade on delete cascade,
  constraint briefs_id_user_id_key unique (id, user_id)
);
create index briefs_by_project on public.briefs (project_id, user_id);
create index briefs_by_user on public.briefs (user_id, created_at desc);

create table public.tasks (
  id             uuid not null primary key default gen_random_uuid(),
  task_type      text not null,
  params         jsonb not null default '{}',
  status         public.task_status not null default 'Queued',
  -- The sole dependency, if there is exactly one: old clients read a scalar.
  dependant_on   uuid,
  -- All dependencies in the order given; task_dependencies says the same, one row each.
  depends_on     uuid[] not null default '{}',
  output_location text,
  error_message  text,
  result         jsonb,
  project_id     uuid not null,
  user_id        uuid not null,
  parent_id      uuid,
  brief_id       uuid,
  -- The task whose end ended this one.
  root_task_id   uuid,
  worker_id      text,
  attempts       integer not null default 0,
  max_attempts   integer not null default 3,
  waiting        boolean not null default false,
  lease_expires_at timestamptz,
  scheduled_at   timestamptz,
  priority       integer not null default 0,
  mandate        text,
  tick           integer,
  max_ticks      integer,
  correlation_id text,
  flow_run_id    uuid,
  created_at     timestamptz not null,
  updated_at     timestamptz not null,
  generation_started_at   timestamptz,
  generation_processed_at timestamptz,
  -- Stamped at enqueue: the order within a priority.
  order_key      bigint not null,
  -- What the client said, for "the same body again": equal bodies hash equally, in whichever order or spelling.
  body_hash      bigint not null,
  -- Tokens that hold nothing any more. The holder's own last word was said under the first; under the second it held
  -- the task when somebody else ended it. A token that holds is in private.queue, where no client reads it.
  closed_token   uuid,
  lost_token     uuid,
  constraint task_of_own_project foreign key (project_id, user_id)
    references public.projects (id, user_id) on update cascade on delete cascade,
  constraint task_of_own_brief foreign key (brief_id, user_id) references public.briefs (id, user_id),
  constraint tasks_id_user_id_key unique (id, user_id),
  -- Deferred, so that the trigger that admits tasks refuses first, in words. Where it need not be, none is: what is
  -- checked at the commit is checked by plans that nothing here can guide.
  constraint parent_of_same_owner foreign key (parent_id, user_id)
    references public.tasks (id, user_id) on update cascade on delete cascade deferrable initially deferred
) with (
  -- A row is written again at claim, start and end. No index holds a column that these change, so the new version
  -- stays on its page (HOT) if there is room.
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);
create index tasks_by_order on public.tasks (order_key);
create index tasks_by_user on public.tasks (user_id, order_key);
create index tasks_by_project on public.tasks (project_id, order_key);
create index tasks_by_parent on public.tasks (parent_id, order_key) where parent_id is not null;
create index tasks_by_brief on public.tasks (brief_id) where brief_id is not null;
create index tasks_by_root on public.tasks (root_task_id, order_key) where root_task_id is not null;
create unique index tasks_by_correlation on public.tasks (user_id, correlation_id) where correlation_id is not null;
create index segments_by_run on public.tasks ((params ->> 'orchestrator_run_id')) where task_type = 'travel_segment';

create table public.task_dependencies (
  task_id    uuid not null,
  position   integer not null,
  depends_on uuid not null,
  user_id    uuid not null,
  primary key (depends_on, task_id),
  constraint dependency_is_another check (task_id <> depends_on),
  -- Both ends belong to one owner.
  constraint dependent_of_owner foreign key (task_id, user_id)
    references public.tasks (id, user_id) on update cascade on delete cascade,
  constraint dependency_of_owner foreign key (depends_on, user_id)
    references public.tasks (id, user_id) on update cascade on delete cascade
);
create index task_dependencies_by_task on public.task_dependencies (task_id, position);
create index task_dependencies_by_user on public.task_dependencies (user_id);

create table public.user_api_token (
  id           uuid not null primary key default gen_random_uuid(),
  -- Null: a worker of the operator, which serves everybody.
  user_id      uuid references auth.users (id) on delete cascade,
  -- SHA-256 of the token, in hex.
  jti_hash     text not null,
  label        text not null default 'token',
  prefix       text not null default '',
  scopes       text[] not null default array['enqueue', 'work'],
  created_at   timestamptz not null default now(),
  expires_at   timestamptz,
  last_used_at timestamptz,
  revoked_at   timestamptz,
  constraint user_api_token_jti_hash_key unique (jti_hash),
  constraint jti_hash_is_sha256 check (jti_hash ~ '^[0-9a-f]{64}$'),
  constraint token_label_length check (char_length(label) between 1 and 200),
  constraint token_scopes_known check (scopes <@ array['enqueue', 'work'] and cardinality(scopes) > 0)
);
create index user_api_token_by_user on public.user_api_token (user_id);

-- Every task that is not Complete: where it stands in the queue, and what only the queue may know of it.
-- Narrow, and short however long the history: claims read nothing else.
create type private.place as enum ('ready', 'blocked', 'delayed', 'held', 'waiting', 'ended');

create table private.queue (
  task_id      uuid not null primary key,
  user_id      uuid not null,
  task_type    text not null,
  priority     integer not null,
  order_key    bigint not null,
  place        private.place not null,
  -- How many dependencies are not Complete.
  unmet        integer not null,
  scheduled_at timestamptz,
  -- It has a parent, a child, a dependency or a dependent: what changes it may change others (private.lock_owner).
  has_kin      boolean not null,
  claim_token  uuid,
  -- Who claimed it, for old clients that show no claim token: service, user:<id> or token:<id>.
  held_by      text,
  start_request_id text,
  constraint place_of_task foreign key (task_id, user_id)
    references public.tasks (id, user_id) on update cascade on delete cascade,
  constraint unmet_not_negative check (unmet >= 0),
  constraint held_has_token check ((place = 'held') = (claim_token is not null))
) with (
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0
);
-- Only the unfiltered claim sorts by -priority, and only the filtered ones by priority desc: so one index serves each,
-- and no planner walks a million rows of another type.
create index queue_ready on private.queue ((-priority), order_key) where place = 'ready';
create index queue_ready_of_type on private.queue (task_type, priority desc, order_key) where place = 'ready';
create index queue_ready_of_user on private.queue (user_id, priority desc, order_key) where place = 'ready';
create index queue_delayed on private.queue (scheduled_at) where place = 'delayed';
-- With the id, so that claims of one user's tasks at the same time do not all meet on one page of it.
create index queue_elsewhere on private.queue (place, user_id, task_id) where place in ('held', 'blocked', 'waiting', 'ended');

-- The claim that a request made last, so that its repetition finds it (I3). No foreign key, which would look the task up
-- again at each claim: a trigger deletes with the task.
create table private.claim_requests (
  task_id    uuid not null primary key,
  request_id text collate "C" not null,
  worker_id  text not null
);
create index claim_requests_by_request on private.claim_requests (request_id);

create sequence private.enqueue_order as bigint;
-- Differs after every write of the queue: a hint for who waits for one (queue_pulse).
create sequence private.pulse as bigint;

alter table public.projects enable row level security;
alter table public.projects force row level security;
alter table public.workers enable row level security;
alter table public.workers force row level security;
alter table public.briefs enable row level security;
alter table public.briefs force row level security;
alter table public.tasks enable row level security;
alter table public.tasks force row level security;
alter table public.task_dependencies enable row level security;
alter table public.task_dependencies force row level security;
alter table public.user_api_token enable row level security;
alter table public.user_api_token force row level security;
alter table private.queue enable row level security;
alter table private.queue force row level security;
alter table private.claim_requests enable row level security;
alter table private.claim_requests force row level security;
