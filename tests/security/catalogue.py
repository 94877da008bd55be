"""What the database's own catalogue says about who may do what. Each check answers with findings; none is good.

They take a connection of the owner, so that a mutant can be planted and rolled back around them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
Check = Callable[[Connection], list[str]]

_OURS = "n.nspname in ('public', 'private')"


def unprotected_tables(db: Connection) -> list[str]:
    """Row-level security is on and forced for every table, exposed or not."""
    return strings(
        db,
        f"""select format('%I.%I: row-level security is not forced', n.nspname, c.relname)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)""",
    )


def rights_of_nobody(db: Connection) -> list[str]:
    """Neither anon nor PUBLIC has a right on anything of ours, columns included. No acl of a function means PUBLIC."""
    return strings(
        db,
        f"""
        with granted as (
          select format('%I.%I', n.nspname, c.relname) as thing, a.grantee, a.privilege_type
            from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a where {_OURS}
          union all
          select format('%I.%I.%I', n.nspname, c.relname, k.attname), a.grantee, a.privilege_type
            from pg_attribute k join pg_class c on c.oid = k.attrelid join pg_namespace n on n.oid = c.relnamespace,
              aclexplode(k.attacl) a where {_OURS}
          union all
          select p.oid::regprocedure::text, a.grantee, a.privilege_type
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
              aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where {_OURS}
          union all
          select format('schema %I', n.nspname), a.grantee, a.privilege_type
            from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
            where {_OURS} and not (n.nspname = 'public' and a.privilege_type = 'USAGE'))
        select format('%s may %s %s', case grantee when 0 then 'PUBLIC' else grantee::regrole::text end, privilege_type,
          thing)
        from granted where grantee = 0 or grantee = 'anon'::regrole order by 1""",
    )


def loose_functions(db: Connection) -> list[str]:
    """Every function pins an empty search_path and runs no SQL that it puts together itself.

    Some, such as query_to_xml, run a text as SQL without saying so. Who runs with an owner's rights has ours.
    """
    return strings(
        db,
        f"""
        select format('%s: %s', p.oid::regprocedure, said.what) from pg_proc p
          join pg_namespace n on n.oid = p.pronamespace join pg_language l on l.oid = p.prolang
          cross join lateral (values
            ('search_path is not pinned', not coalesce(p.proconfig, '{{}}') @> array['search_path=""']),
            ('dynamic SQL', p.prosrc
              ~* '\\m(execute|(query|cursor|table|schema|database)_to_xml\\w*|dblink\\w*|ts_stat|set_config)\\M'),
            ('runs with the rights of ' || p.proowner::regrole, p.prosecdef and p.proowner <> 'postgres'::regrole),
            ('is written in ' || l.lanname, l.lanname not in ('sql', 'plpgsql')),
            ('says of itself that it is leakproof', p.proleakproof)) said (what, is_so)
          where {_OURS} and said.is_so
        union all
        select format('%s is off', t.tgname) from pg_trigger t join pg_class c on c.oid = t.tgrelid
          join pg_namespace n on n.oid = c.relnamespace where {_OURS} and t.tgenabled <> 'O'
        order by 1""",
    )


def views_with_rights_of_their_own(db: Connection) -> list[str]:
    return strings(
        db,
        f"""select format('%I.%I: not security_invoker', n.nspname, c.relname)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where {_OURS} and c.relkind in ('v', 'm')
              and not coalesce(c.reloptions, '{{}}') @> array['security_invoker=true']""",
    )


def links_across_owners(db: Connection) -> list[str]:
    """A foreign key between two tables that have an owner carries the owner."""
    return strings(
        db,
        f"""
        select format('%s.%s does not carry user_id', f.conrelid::regclass, f.conname)
        from pg_constraint f join pg_namespace n on n.oid = f.connamespace
        where f.contype = 'f' and {_OURS} and f.confrelid <> 'auth.users'::regclass
          and not exists (select from unnest(array[f.conrelid, f.confrelid]) t (id) where not exists (
            select from pg_attribute k where k.attrelid = t.id and k.attname = 'user_id'))
          and not exists (
            select from unnest(f.conkey, f.confkey) pair (here, there)
            join pg_attribute h on h.attrelid = f.conrelid and h.attnum = pair.here
            join pg_attribute o on o.attrelid = f.confrelid and o.attnum = pair.there
            where h.attname = 'user_id' and o.attname = 'user_id')
        order by 1""",
    )


def rights(db: Connection) -> list[str]:
    """All that anybody but the owner may do, and all policies and buckets: `rights.txt` holds what we mean.

    A right on a whole table lists its columns, so that a new column has to be stated too.
    """
    return strings(
        db,
        f"""
        with columns as (
          select k.attrelid, string_agg(k.attname, ', ' order by k.attname) as names from pg_attribute k
          where k.attnum > 0 and not k.attisdropped group by 1
        ), granted as (
          select format(case when c.relkind <> 'S' and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
              then '%I.%I (*: %s)' else '%I.%I' end, n.nspname, c.relname, k.names) as thing,
              a.grantee, a.privilege_type, a.is_grantable, c.relowner as owner
            from pg_class c join pg_namespace n on n.oid = c.relnamespace left join columns k on k.attrelid = c.oid,
              aclexplode(c.relacl) a where {_OURS}
          union all
          select format('%I.%I (%s)', n.nspname, c.relname, string_agg(k.attname, ', ' order by k.attname)),
              a.grantee, a.privilege_type, a.is_grantable, c.relowner
            from pg_attribute k join pg_class c on c.oid = k.attrelid join pg_namespace n on n.oid = c.relnamespace,
              aclexplode(k.attacl) a where {_OURS}
            group by n.nspname, c.relname, a.grantee, a.privilege_type, a.is_grantable, c.relowner
          union all
          select format('%I.%I%s', n.nspname, p.proname, case when p.prosecdef then ' as its owner' end),
              a.grantee, a.privilege_type, a.is_grantable, p.proowner
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
              aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where {_OURS}
          union all
          select format('schema %I', n.nspname), a.grantee, a.privilege_type, a.is_grantable, n.nspowner
            from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
            where {_OURS} or n.nspowner = 'postgres'::regrole
          union all
          select format('by default what %s makes in %s (%s)', d.defaclrole::regrole, d.defaclnamespace::regnamespace,
              d.defaclobjtype), a.grantee, a.privilege_type, a.is_grantable, d.defaclrole
            from pg_default_acl d, aclexplode(d.defaclacl) a where d.defaclrole = 'postgres'::regrole
        )
        select format('%s: %s %s%s', case grantee when 0 then 'PUBLIC' else grantee::regrole::text end,
            lower(privilege_type), thing, case when is_grantable then ' with grant option' end)
          from granted where grantee <> owner and grantee::regrole::text <> 'pg_database_owner'
        union all
        select format('policy %s on %I.%I for %s to %s%s using (%s) check (%s)', policyname, schemaname, tablename,
            lower(cmd), array_to_string(roles, ','), case permissive when 'RESTRICTIVE' then ' restricts' end,
            regexp_replace(qual, '\\s+', ' ', 'g'), regexp_replace(with_check, '\\s+', ' ', 'g'))
          from pg_policies
        union all
        select format('bucket %s, %s, at most %s bytes of %s', b.id,
            case when b.public then 'public' else 'private' end, b.file_size_limit,
            array_to_string(b.allowed_mime_types, ', ')) from storage.buckets b
        order by 1""",
    )


def strings(db: Connection, query: str) -> list[str]:
    return [row[0] for row in db.execute(query).fetchall()]  # type: ignore[call-overload]
