-- What a hosted project has before its first migration: roles, schemas, helper functions, the tables of Auth and
-- Storage. Run once, by the superuser supabase_admin, in the cluster that all local stacks are copied from.
-- New tables in public are granted to nobody, as on hosted projects since October 2026.

create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
-- Migrations run as this role. It is no superuser on hosted projects either.
create role postgres login createdb createrole replication bypassrls;
create role supabase_auth_admin login noinherit createrole;
create role supabase_storage_admin login noinherit createrole;

grant anon, authenticated, service_role to authenticator, supabase_storage_admin;
grant anon, authenticated, service_role to postgres with admin option;
-- Only so that migrations may write policies on storage.objects; what else an owner could do is refused below.
grant supabase_storage_admin to postgres;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role postgres set search_path = "$user", public, extensions;
alter role supabase_auth_admin set search_path = auth;
alter role supabase_storage_admin set search_path = storage;

alter database postgres owner to postgres;
create schema extensions;
create schema auth;
create schema storage;
create schema supabase_migrations authorization postgres;
grant usage on schema public, extensions, auth, storage to postgres, anon, authenticated, service_role;
grant create on schema extensions to postgres;
grant usage on schema auth to supabase_auth_admin;
grant usage on schema storage to supabase_storage_admin;

create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
alter table supabase_migrations.schema_migrations owner to postgres;
create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;

-- Hosted projects have these; a server without them (the wheel has no OpenSSL) leaves them out.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['pgcrypto', 'uuid-ossp'] loop
        if exists (select from pg_available_extensions where name = wanted) then
            execute format('create extension %I with schema extensions', wanted);
        end if;
    end loop;
end $$;

-- Auth -----------------------------------------------------------------------------------------------------------

create table auth.users (
    instance_id uuid,
    id uuid primary key default gen_random_uuid(),
    aud varchar(255) default 'authenticated',
    role varchar(255) default 'authenticated',
    email varchar(255),
    encrypted_password varchar(255),
    email_confirmed_at timestamptz,
    last_sign_in_at timestamptz,
    raw_app_meta_data jsonb,
    raw_user_meta_data jsonb,
    phone text unique,
    phone_confirmed_at timestamptz,
    confirmed_at timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
    banned_until timestamptz,
    deleted_at timestamptz,
    is_sso_user boolean not null default false,
    is_anonymous boolean not null default false,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);
create unique index users_email_partial_key on auth.users (email) where not is_sso_user;

create table auth.sessions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references auth.users on delete cascade,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);

create table auth.refresh_tokens (
    id bigint generated always as identity primary key,
    token varchar(255) unique,
    user_id varchar(255),
    revoked boolean default false,
    session_id uuid references auth.sessions on delete cascade,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);

create function auth.jwt() returns jsonb language sql stable as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb
$$;
create function auth.uid() returns uuid language sql stable as $$
    select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;
create function auth.role() returns text language sql stable as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
$$;
create function auth.email() returns text language sql stable as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
$$;

do $$
declare
    wanted text;
begin
    foreach wanted in array array['users', 'sessions', 'refresh_tokens'] loop
        execute format('alter table auth.%I owner to supabase_auth_admin', wanted);
        execute format('alter table auth.%I enable row level security', wanted);
        execute format('grant all on auth.%I to postgres', wanted);
    end loop;
end $$;

-- Storage --------------------------------------------------------------------------------------------------------

create table storage.buckets (
    id text primary key,
    name text not null unique,
    owner uuid,
    owner_id text,
    public boolean default false,
    avif_autodetection boolean default false,
    file_size_limit bigint,
    allowed_mime_types text[],
    type text not null default 'STANDARD',
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);

create table storage.objects (
    id uuid primary key default gen_random_uuid(),
    bucket_id text references storage.buckets,
    name text,
    owner uuid,
    owner_id text,
    version text,
    metadata jsonb,
    user_metadata jsonb,
    path_tokens text[] generated always as (string_to_array(name, '/')) stored,
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    last_accessed_at timestamptz default now()
);
create unique index bucketid_objname on storage.objects (bucket_id, name);
create index name_prefix_search on storage.objects (name text_pattern_ops);

create function storage.foldername(name text) returns text[] language sql immutable as $$
    select (string_to_array(name, '/'))[:cardinality(string_to_array(name, '/')) - 1]
$$;
create function storage.filename(name text) returns text language sql immutable as $$
    select (string_to_array(name, '/'))[cardinality(string_to_array(name, '/'))]
$$;
create function storage.extension(name text) returns text language sql immutable as $$
    select reverse(split_part(reverse(storage.filename(name)), '.', 1))
$$;
create function storage.operation() returns text language sql stable as $$
    select current_setting('storage.operation', true)
$$;
create function storage.touch() returns trigger language plpgsql as $$
begin
    new.updated_at = now();
    return new;
end $$;
create trigger update_objects_updated_at before update on storage.objects
    for each row execute function storage.touch();

do $$
declare
    wanted text;
begin
    foreach wanted in array array['buckets', 'objects'] loop
        execute format('alter table storage.%I owner to supabase_storage_admin', wanted);
        execute format('alter table storage.%I enable row level security', wanted);
        execute format('grant all on storage.%I to anon, authenticated, service_role', wanted);
        execute format('grant all on storage.%I to postgres with grant option', wanted);
    end loop;
end $$;

-- Changes of the schema ------------------------------------------------------------------------------------------

-- A hosted project lets migrations write policies on storage.objects, and refuses to let them alter its tables.
create function extensions.guard_managed_tables() returns event_trigger language plpgsql as $$
declare
    change record;
begin
    for change in select * from pg_event_trigger_ddl_commands() loop
        if change.schema_name in ('auth', 'storage') and session_user <> 'supabase_admin' then
            raise insufficient_privilege using message =
                format('must be owner of table %s', change.object_identity),
                hint = 'Supabase owns the tables of Auth and Storage: a migration may only write policies for them.';
        end if;
    end loop;
end $$;
create event trigger guard_managed_tables on ddl_command_end when tag in ('ALTER TABLE')
    execute function extensions.guard_managed_tables();

-- The HTTP face keeps a picture of the schema; this tells it to look again.
create function extensions.announce_schema_change() returns event_trigger language plpgsql as $$
begin
    notify pgrst, 'reload schema';
end $$;
create event trigger announce_ddl on ddl_command_end execute function extensions.announce_schema_change();
create event trigger announce_drop on sql_drop execute function extensions.announce_schema_change();
