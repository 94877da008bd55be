-- Personal access tokens. Only their SHA-256 is kept: 256 random bits need no salt and no slow hash.

-- Who a token is, or null if nobody: {token_id, user_id, scopes}. Stamps its use at most once a minute. For the service.
create function public.resolve_token(p_hash text) returns json language plpgsql security definer set search_path = '' as $$
declare
  v_token public.user_api_token;
begin
  perform private.service_only('resolves tokens');
  select * into v_token from public.user_api_token k
    where k.jti_hash = p_hash and k.revoked_at is null and (k.expires_at is null or k.expires_at > private.now());
  if not found then
    return null;
  end if;
  if v_token.last_used_at is null or v_token.last_used_at < private.now() - interval '1 minute' then
    update public.user_api_token set last_used_at = private.now() where id = v_token.id;
  end if;
  return json_build_object('token_id', v_token.id, 'user_id', v_token.user_id, 'scopes', v_token.scopes);
end $$;

create function private.token_json(k public.user_api_token) returns json language sql stable set search_path = '' as $$
  select json_build_object('id', k.id, 'user_id', k.user_id, 'label', k.label, 'prefix', k.prefix, 'scopes', k.scopes,
    'created_at', k.created_at, 'expires_at', k.expires_at, 'last_used_at', k.last_used_at, 'revoked_at', k.revoked_at)
$$;

-- Keeps the hash of a token that the caller has made and shows once. Users make their own; the service makes one for
-- p_user_id, or with null for a worker that serves everybody. Refuses LT001.
create function public.create_token(
  p_hash text, p_label text, p_prefix text, p_scopes text[] default array['enqueue', 'work'],
  p_expires_at timestamptz default null, p_user_id uuid default null
) returns json language plpgsql security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  v_token public.user_api_token;
begin
  perform private.check_text('label', p_label, 200);
  if p_hash is null or p_hash !~ '^[0-9a-f]{64}$' then
    perform private.refuse_field('hash', p_hash, 'Send the SHA-256 of the token in hex, never the token.');
  elsif p_scopes is null or cardinality(p_scopes) not between 1 and 2 or array_ndims(p_scopes) > 1 or not p_scopes <@ array['enqueue', 'work'] then
    perform private.refuse_field('scopes', p_scopes::text, 'Known: enqueue, work.');
  elsif p_label ~ '[[:cntrl:]]' or p_prefix ~ '[[:cntrl:]]' then
    perform private.refuse_field('label', p_label, 'Use printable characters.');
  elsif p_expires_at <= private.now() or p_expires_at > '9000-01-01' then
    perform private.refuse_field('expires_at', p_expires_at::text, 'Give a moment to come, or none.');
  elsif v_user is not null and not exists (select from auth.users u where u.id = v_user) then
    perform private.refuse_field('user_id', v_user::text, 'There is no such user.');
  end if;
  insert into public.user_api_token (user_id, jti_hash, label, prefix, scopes, expires_at, created_at)
    values (v_user, p_hash, p_label, left(p_prefix, 12), p_scopes, p_expires_at, private.now())
    returning * into v_token;
  return private.token_json(v_token);
end $$;

-- Newest first, revoked ones too. The service without p_user_id sees everybody's.
create function public.list_tokens(p_user_id uuid default null) returns json language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
begin
  return (select coalesce(json_agg(private.token_json(k) order by k.created_at desc, k.id), '[]')
    from public.user_api_token k where v_user is null or k.user_id = v_user);
end $$;

-- Revokes at once and for good; again answers the same. Refuses LT002: no such token, or not yours.
create function public.revoke_token(p_id uuid, p_user_id uuid default null) returns json language plpgsql security definer set search_path = '' as $$
declare
  v_user uuid := private.acting_user(p_user_id);
  v_token public.user_api_token;
begin
  update public.user_api_token k set revoked_at = coalesce(k.revoked_at, private.now())
    where k.id = p_id and (v_user is null or k.user_id = v_user) returning * into v_token;
  if not found then
    perform private.refuse('LT002', format('There is no token %s.', p_id), 'List them to see their ids.', jsonb_build_object('token_id', p_id));
  end if;
  return private.token_json(v_token);
end $$;
