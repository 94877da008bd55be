create table public.notes (
    id bigint generated always as identity primary key,
    user_id uuid not null default auth.uid() references auth.users on delete cascade,
    title text not null check (title <> ''),
    pages int not null default 1,
    tags jsonb not null default '{}',
    slug text unique,
    follows bigint references public.notes deferrable initially deferred
);
alter table public.notes enable row level security;
grant select, insert, update, delete on public.notes to authenticated, service_role;
create policy owners on public.notes for all to authenticated
    using (user_id = auth.uid()) with check (user_id = auth.uid());

create table public.ungranted (id int primary key);

create function public.whoami() returns json language sql stable set search_path = '' as $$
    select json_build_object('role', current_user, 'uid', auth.uid(), 'timeout', current_setting('statement_timeout'))
$$;
create function public.add(p_left int, p_right int default 1) returns int language sql immutable as $$
    select p_left + p_right
$$;
create function public.add(p_words text[]) returns text language sql immutable as $$
    select array_to_string(p_words, ' ')
$$;
create function public.notes_like(p_title text) returns setof public.notes language sql stable as $$
    select * from public.notes where title like p_title
$$;
create function public.refuse(p_state text) returns void language plpgsql as $$
begin
    raise exception using errcode = p_state, message = 'No.', detail = '{"field": "x"}', hint = 'Ask again.';
end $$;
create function public.write_note(p_user uuid, p_title text) returns void language sql security definer as $$
    insert into public.notes (user_id, title) values (p_user, p_title)
$$;
create function public.stable_writer() returns void language plpgsql stable as $$
begin
    execute 'create table public.made (id int)';
end $$;
create function public.sleep(p_seconds float8) returns void language sql as $$ select pg_sleep(p_seconds) $$;

create policy own_folder on storage.objects for insert to authenticated
    with check (bucket_id = 'drafts' and (storage.foldername(name))[1] = auth.uid()::text);
create policy own_objects on storage.objects for select to authenticated
    using (bucket_id = 'drafts' and owner_id = auth.uid()::text);
