from tests.supabase_stack import supabase

__all__ = ["supabase"]
