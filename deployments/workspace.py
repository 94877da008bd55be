"""Write the workspace block that these settings mean. Imports Prefect."""

from __future__ import annotations

from uuid import UUID

from pydantic import SecretStr

from blocks.engine import EngineChoice
from blocks.supabase.credentials import SupabaseCredentials
from blocks.workspace import save_supabase_workspace, save_workspace
from deployments.settings import Settings
from deployments.site import supabase_site


def save(settings: Settings) -> None:
    """On the Prefect server that the environment points at. Raises `NoSupabase`, `InvalidCredentials`."""
    engines = EngineChoice(
        video=settings.engine,
        image=settings.image_engine,
        video_model=settings.model,
        image_model=settings.image_model,
        **({"device": settings.device} if settings.device else {}),
    )
    site = supabase_site(settings)
    if site is None:
        save_workspace(settings.queue_path, settings.storage_root, engines, settings.work_dir)
        return
    save_supabase_workspace(
        SupabaseCredentials(
            url=site.access.url,
            key=SecretStr(site.access.key),
            publishable_key=SecretStr(site.access.publishable_key),
            bucket=site.access.bucket,
        ),
        UUID(site.project_id) if site.project_id else None,
        engines,
        settings.work_dir,
        allow_loopback=site.allow_loopback,
    )
