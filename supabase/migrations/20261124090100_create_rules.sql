-- What every function of the queue uses: refusals, who is calling, the clock, what may stand in a row.

-- Raises a refusal under a private SQLSTATE (LT001 … LT009); DETAIL carries its data as JSON.
create function private.refuse(p_code text, p_message text, p_hint text, p_data jsonb default '{}')
returns void language plpgsql set search_path = '' as $$
begin
  raise exception using errcode = p_code, message = p_message, hint = p_hint, detail = p_data::text;
end $$;

-- LT001 for a field that no row could hold.
create function private.refuse_field(p_field text, p_value text, p_hint text)
returns void language plpgsql set search_path = '' as $$
begin
  perform private.refuse('LT001', format('%s cannot be %s.', p_field, coalesce(quote_literal(left(p_value, 80)), 'null')),
    p_hint, jsonb_build_object('field', p_field));
end $$;

-- The time by which leases run and delays end. Its own function, so that a test can move it.
create function private.now() returns timestamptz language plpgsql volatile set search_path = '' as $$
begin
  return clock_timestamp();
end $$;

-- Uniform in [0, 1).
create function private.jitter() returns double precision language sql volatile set search_path = '' as $$
  select pg_catalog.random()
$$;

-- Seconds after which attempt p_attempt (from 1) comes back: uniform in [d/2, d], d = min(900, 5 · 2^(attempt − 1)).
create function private.backoff(p_attempt integer) returns double precision language sql volatile set search_path = '' as $$
  select d / 2 + private.jitter() * d / 2
  from (select least(900.0, 5.0 * power(2.0, least(greatest(p_attempt, 1), 20) - 1))::double precision as d) as full_wait
$$;

-- A text as uuid, or null when it is none: to a caller a malformed id is the id of no task.
create function private.as_uuid(p_text text) returns uuid language plpgsql immutable set search_path = '' as $$
begin
  return case when p_text like '________-____-____-____-____________'
    and translate(p_text, '0123456789abcdefABCDEF', '') = '----' then p_text::uuid end;
end $$;

-- Whose tasks the caller may see and change: a user's own, or all (null) for the service, which may act for one.
-- It asks for the database role, which nobody can claim in a token; a token's own words decide nothing here.
-- Refuses LT009: a user who names somebody else, and every other role.
create function private.acting_user(p_user_id uuid) returns uuid language plpgsql stable set search_path = '' as $$
declare
  v_user uuid;
begin
  if current_setting('role', true) = 'service_role' then
    return p_user_id;
  elsif current_setting('role', true) = 'authenticated' then
    v_user := (select auth.uid());
    if v_user is not null and (p_user_id is null or p_user_id = v_user) then
      return v_user;
    end if;
  elsif coalesce(current_setting('role', true), 'none') = 'none' and pg_has_role(session_user, 'service_role', 'member') then
    return p_user_id;
  end if;
  perform private.refuse('LT009', 'These are not your tasks.', 'Sign in as their owner, or use the service key.');
  return null;
end $$;

-- Refuses LT009 to everybody but the service. p_does: what only it does.
create function private.service_only(p_does text) returns void language plpgsql stable set search_path = '' as $$
begin
  if private.acting_user(null) is not null then
    perform private.refuse('LT009', format('Only the service %s.', p_does), 'Use the service key.');
  end if;
end $$;

-- The identity under which a claim is held. p_user_id: what acting_user answered. Only the service may speak for others.
create function private.holder(p_holder text, p_user_id uuid) returns text language plpgsql stable set search_path = '' as $$
begin
  return case when current_setting('role', true) = 'authenticated' then 'user:' || p_user_id
    else coalesce(p_holder, 'service') end;
end $$;

-- Held until the end of the transaction by who changes tasks with kin: so no two of these meet inside one family.
create function private.lock_owner(p_user_id uuid) returns void language sql volatile set search_path = '' as $$
  select pg_catalog.pg_advisory_xact_lock(7203, pg_catalog.hashtext(p_user_id::text))
$$;

-- The checks answer true, so that they can stand in an expression: `perform` would make each a query of its own.
create function private.check_seconds(p_field text, p_value double precision, p_zero boolean default false)
returns boolean language plpgsql set search_path = '' as $$
begin
  -- A day: a longer lease would hide a dead holder from everybody. NaN is greater than all numbers here.
  if p_value is null or p_value > 86400 or p_value < 0 or (p_value = 0 and not p_zero) then
    perform private.refuse_field(p_field, p_value::text, 'Give seconds, more than 0 and at most 86400.');
  end if;
  return true;
end $$;

create function private.check_integer(p_field text, p_value integer, p_low integer, p_high integer)
returns void language plpgsql set search_path = '' as $$
begin
  if p_value is null or p_value not between p_low and p_high then
    perform private.refuse_field(p_field, p_value::text, format('Use a whole number from %s to %s.', p_low, p_high));
  end if;
end $$;

create function private.check_text(p_field text, p_value text, p_longest integer)
returns boolean language plpgsql set search_path = '' as $$
begin
  if p_value is null or p_value !~ '\S' or char_length(p_value) > p_longest then
    perform private.refuse_field(p_field, p_value, format('Use 1 to %s characters, not only blanks.', p_longest));
  end if;
  return true;
end $$;

create function private.check_worker_id(p_worker_id text) returns boolean language plpgsql set search_path = '' as $$
begin
  if p_worker_id is null or char_length(p_worker_id) not between 1 and 128 or p_worker_id ~ '[[:cntrl:]]' then
    perform private.refuse_field('worker_id', p_worker_id, 'Use 1 to 128 printable characters, such as ''gpu-1''.');
  end if;
  return true;
end $$;

-- Refuses LT001 for tasks that are no list, or too many for one transaction.
create function private.check_batch(p_tasks jsonb) returns void language plpgsql set search_path = '' as $$
begin
  if jsonb_typeof(p_tasks) is distinct from 'array' or jsonb_array_length(p_tasks) > 10000 then
    perform private.refuse('LT001', 'tasks is no list of at most 10000 tasks.', 'Send a list of objects.', '{"field": "tasks"}');
  end if;
end $$;

-- What every reader can take in: at most 64 levels, and numbers within a double. PostgreSQL would keep 1e5000 with all
-- its digits, and one such row would hide all others from whoever reads a list of them.
create function private.check_json(p_field text, p_value jsonb) returns boolean language plpgsql set search_path = '' as $$
begin
  if jsonb_path_exists(p_value, 'strict $.**{65 to last}') then
    perform private.refuse('LT001', format('%s is nested deeper than 64 levels.', p_field), 'Flatten it.',
      jsonb_build_object('field', p_field));
  elsif jsonb_path_exists(p_value, 'strict $.** ? (@.type() == "number" && (@ > 1e308 || @ < -1e308))') then
    perform private.refuse('LT001', format('%s has a number beyond 1e308.', p_field), 'Send it as a string.',
      jsonb_build_object('field', p_field));
  end if;
  return true;
end $$;

-- Params as they may be stored: an object, at most 256 KB and 64 levels, numbers that every reader holds, no secrets
-- (I10). A key that ends like the name of a secret and holds text is one, and so is a value that is a token.
create function private.check_params(p_params jsonb) returns void language plpgsql set search_path = '' as $$
declare
  v_found text;
  v_size integer;
begin
  if jsonb_typeof(p_params) is distinct from 'object' then
    perform private.refuse('LT001', format('params is %s, not a JSON object.', coalesce(jsonb_typeof(p_params), 'missing')),
      'Send an object such as {"prompt": "…"}.', '{"field": "params"}');
  end if;
  v_size := octet_length(p_params::text);
  if v_size > 262144 then
    -- The text of jsonb has a blank after each colon and comma, which JSON does not need.
    v_size := v_size - (select count(*) from regexp_matches(p_params::text, '(": |, )', 'g'));
  end if;
  if v_size > 262144 then
    perform private.refuse('LT001', format('params has %s bytes as UTF-8 JSON; at most 262144 are stored.', v_size),
      'Put large content into storage and send its path.',
      jsonb_build_object('field', 'params', 'size', v_size, 'limit', 262144));
  end if;
  perform private.check_json('params', p_params);
  v_found := (
    select pair ->> 'key'
    from jsonb_path_query(p_params, 'strict $.** ? (@.type() == "object").keyvalue()') as pair
    where jsonb_typeof(pair -> 'value') = 'string' and pair ->> 'value' ~ '\S'
      and regexp_replace(lower(pair ->> 'key'), '[^a-z0-9]', '', 'g') ~ ('(accesskey|accesstoken|apikey|apisecret|authorization'
        || '|authtoken|bearertoken|clientsecret|idtoken|jwt|passphrase|passwd|password|privatekey|refreshtoken|secret|secretkey'
        || '|servicekey|servicerolekey)$')
    limit 1);
  if v_found is null and p_params::text ~ '(eyJ|sb_secret_|lt_|[Bb][Ee][Aa][Rr][Ee][Rr])' then
    v_found := (
      select 'a value that starts with ' || left(value #>> '{}', 6)
      from jsonb_path_query(p_params, 'strict $.** ? (@.type() == "string")') as value
      where value #>> '{}' ~ ('^\s*((?:[Bb][Ee][Aa][Rr][Ee][Rr])\s+\S+|eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*'
        || '|sb_secret_\S+|lt_[A-Za-z0-9_-]{43})\s*$')
      limit 1);
  end if;
  if v_found is not null then
    perform private.refuse('LT001', format('params.%s looks like a secret, and params are readable by many.', v_found),
      'Keep secrets in a Prefect block or an environment variable and send a reference.', '{"field": "params"}');
  end if;
end $$;

create function private.check_result(p_result jsonb) returns boolean language plpgsql set search_path = '' as $$
begin
  if p_result is not null and (jsonb_typeof(p_result) <> 'object' or octet_length(p_result::text) > 1048576) then
    perform private.refuse('LT001', 'result is no JSON object of at most 1 MB.', 'Send an object.', '{"field": "result"}');
  end if;
  perform private.check_json('result', p_result);
  return true;
end $$;

-- What an error text becomes: a task must be able to fail, whatever a library has put into its message.
create function private.tidy_error(p_error text) returns text language sql immutable set search_path = '' as $$
  select coalesce(nullif(pg_catalog.btrim(pg_catalog.left(p_error, 16000), E' \t\r\n'), ''), 'No reason was given.')
$$;

-- What must be true of a row in each status. A trigger and no CHECK: PostgreSQL prepares every CHECK anew for each
-- statement, which for a dozen of them costs more than the statement (measured: 27 of 39 µs; the trigger takes 3).
create function private.keep_sound() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.attempts between 0 and new.max_attempts and new.max_attempts >= 1
    and (new.status <> 'Queued' or new.attempts < new.max_attempts)
    and (not new.waiting or new.status = 'In Progress')
    and (new.status = 'In Progress' and not new.waiting) = (new.lease_expires_at is not null)
    and (new.lease_expires_at is null or new.worker_id is not null)
    and (new.scheduled_at is null or new.status = 'Queued')
    and (new.status in ('Complete', 'Failed', 'Cancelled')) = (new.generation_processed_at is not null)
    and (new.root_task_id is null or (new.root_task_id <> new.id and new.generation_processed_at is not null))
    and (new.status <> 'Complete' or new.error_message is null)
    and (new.status not in ('Failed', 'Cancelled') or new.error_message is not null)
    and coalesce(new.tick, 0) >= 0 and coalesce(new.max_ticks, 1) >= 1
  then
    return new;
  end if;
  raise check_violation using message = format('Task %s would not be sound as %s.', new.id, new.status),
    hint = 'Change tasks through the functions of the queue.', table = 'tasks', constraint = 'row_is_sound';
end $$;

-- Named to fire after the trigger that stamps a new row.
create trigger zz_keep_sound before insert or update on public.tasks for each row execute function private.keep_sound();
