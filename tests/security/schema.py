"""A schema as lines of text, so that two of them can be compared."""

from __future__ import annotations

import psycopg

from tests.security.catalogue import rights

_QUERIES = (
    """select format('column %s.%s.%s %s %s %s %s', table_schema, table_name, column_name, ordinal_position, data_type,
         is_nullable, column_default) from information_schema.columns where table_schema in ('public', 'private')""",
    """select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
         where connamespace in ('public'::regnamespace, 'private'::regnamespace)""",
    "select format('index %s', indexdef) from pg_indexes where schemaname in ('public', 'private')",
    """select format('function %s', pg_get_functiondef(oid)) from pg_proc
         where pronamespace in ('public'::regnamespace, 'private'::regnamespace)""",
    """select format('trigger %s', pg_get_triggerdef(t.oid)) from pg_trigger t join pg_class c on c.oid = t.tgrelid
         where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and not t.tgisinternal""",
    """select format('view %s %s', c.relname, pg_get_viewdef(c.oid)) from pg_class c
         where c.relkind = 'v' and c.relnamespace = 'public'::regnamespace""",
    """select format('type %s %s', t.typname, array(select e.enumlabel from pg_enum e where e.enumtypid = t.oid
         order by e.enumsortorder)) from pg_type t where t.typtype = 'e'
         and t.typnamespace in ('public'::regnamespace, 'private'::regnamespace)""",
    """select format('options %s %s', oid::regclass, reloptions) from pg_class
         where relnamespace in ('public'::regnamespace, 'private'::regnamespace)""",
    "select format('bucket %s', to_jsonb(b) - 'created_at' - 'updated_at') from storage.buckets b",
)


def described(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        lines = [row[0] for query in _QUERIES for row in connection.execute(query).fetchall()]
        return sorted([*lines, *rights(connection)])
