-- Files. Anybody who knows a path may read (old clients and players follow public links; paths carry two UUIDs). Users
-- write below <their id>/inputs/ and nowhere else (whoever builds an address from a name with `..` in it lands elsewhere:
-- so there is none); outputs are written by the service, or under an upload link that
-- generate-upload-url hands to the holder of a task.
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
  values ('image_uploads', 'image_uploads', true, 5368709120, array['image/*', 'video/*', 'audio/*', 'application/json',
    'application/octet-stream'])
  on conflict (id) do nothing;

create policy image_uploads_owner_reads on storage.objects for select to authenticated
  using (bucket_id = 'image_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy image_uploads_owner_adds_inputs on storage.objects for insert to authenticated
  with check (bucket_id = 'image_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text
    and (storage.foldername(name))[2] = 'inputs' and name !~ '(^|/)\.\.?(/|$)');
create policy image_uploads_owner_changes_inputs on storage.objects for update to authenticated
  using (bucket_id = 'image_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text
    and (storage.foldername(name))[2] = 'inputs')
  with check (bucket_id = 'image_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text
    and (storage.foldername(name))[2] = 'inputs' and name !~ '(^|/)\.\.?(/|$)');
create policy image_uploads_owner_removes_inputs on storage.objects for delete to authenticated
  using (bucket_id = 'image_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text
    and (storage.foldername(name))[2] = 'inputs');
