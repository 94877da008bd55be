-- For development only, never for a hosted project: the user and the project that `longtake up --supabase-url local` works for,
-- with the ids of the SQLite queue's. Nobody can sign in as this user: it has no password.
insert into auth.users (id, aud, role, email)
  values ('00000000-0000-4000-8000-000000000001', 'authenticated', 'authenticated', 'local@longtake.invalid')
  on conflict do nothing;
insert into public.projects (id, user_id, name)
  values ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'Local')
  on conflict do nothing;
