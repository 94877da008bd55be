-- The types of task that exist, as tasks/kinds.py and the stages of a brief name them (a test compares): a task that
-- nothing can run is refused when it is enqueued, not found in the queue a week later.
create table private.task_types (name text not null primary key);
alter table private.task_types enable row level security;
alter table private.task_types force row level security;
insert into private.task_types (name) values
  ('travel_orchestrator'), ('travel_segment'), ('travel_stitch'),
  ('single_image'), ('generate_video'), ('wgp'), ('interpolate_images'), ('rife_interpolate_images'), ('extract_frame'),
  ('join_clips'),
  ('analysis'), ('asset_prep'), ('storyboard'), ('video_generation'), ('image_processing'), ('text_analysis'), ('render');

-- Refuses LT001 and names the known type that shares most pairs of letters with the unknown one.
create function private.check_task_type(p_task_type text) returns void language plpgsql set search_path = '' as $$
begin
  if exists (select from private.task_types k where k.name = p_task_type) then
    return;
  end if;
  perform private.check_text('task_type', p_task_type, 200);
  perform private.refuse_field('task_type', p_task_type, format('Did you mean %L? Known: %s.',
    (select k.name from private.task_types k
      order by cardinality(array(select unnest(private.pairs(k.name)) intersect select unnest(private.pairs(lower(p_task_type)))))::numeric
        / greatest(char_length(k.name), char_length(p_task_type)) desc, k.name limit 1),
    (select string_agg(k.name, ', ' order by k.name) from private.task_types k)));
end $$;

create function private.pairs(p_text text) returns text[] language sql immutable set search_path = '' as $$
  select array(select substr(p_text, n, 2) from generate_series(1, char_length(p_text) - 1) n)
$$;
