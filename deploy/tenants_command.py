"""``manymodal tenants``: what a tenant may use, and what is kept out for it."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from deploy.command_options import AlwaysJson, DataDir, Profile
from deploy.given_settings import given_settings
from serving.limits.config import TenantLimits
from serving.moderation.policy import ModerationPolicy, Place
from serving.tenant_settings import TenantSettings

if TYPE_CHECKING:
    from serving.access.tenant_store import TenantStore

__all__ = ["tenants_app"]

tenants_app = typer.Typer(
    help="Settings of single tenants. Changes are seen by running gateways within 5 seconds.",
    no_args_is_help=True,
)

_LIMITS = [field.name for field in fields(TenantLimits)]

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.")]


@tenants_app.command()
def show(
    tenant: Annotated[
        str | None, typer.Argument(metavar="TENANT", help="Without: all that have settings of their own.")
    ] = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: AlwaysJson = True,
) -> None:
    """What holds for tenants, as JSON."""
    settings = given_settings(profile=profile, data_dir=data_dir)
    store = _store(profile, data_dir)
    shown = {}
    for name in [tenant] if tenant else store.tenants():
        own = store.get(name)
        shown[name] = _object(own or settings.gateway_config().tenant_defaults, is_default=own is None)
    typer.echo(json.dumps(shown, indent=2))


@tenants_app.command("set")
def set_(
    tenant: Tenant,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=NUMBER",
            help=f"A limit, or NAME=none to have none; may be repeated. Names: {', '.join(_LIMITS)}.",
        ),
    ] = None,
    moderate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help=f"Where content is looked at, in place of what was said before; may be repeated, 'nowhere' for "
            f"none: {', '.join(get_args(Place))}.",
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            metavar="[CATEGORY=]NUMBER",
            help="From which score on (0 to 1), of one category or of all that are not named; may be repeated.",
        ),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin with the defaults.")] = False,
    profile: Profile = None,
    data_dir: DataDir = None,
    as_json: AlwaysJson = True,
) -> None:
    """Change what holds for a tenant; what is not named stays. With --reset alone the defaults hold again."""
    settings = given_settings(profile=profile, data_dir=data_dir)
    store = _store(profile, data_dir)
    if reset and not (limit or moderate or threshold):
        store.delete(tenant)
        typer.echo(json.dumps({tenant: _object(settings.gateway_config().tenant_defaults, is_default=True)}))
        return
    own = None if reset else store.get(tenant)
    before = own or settings.gateway_config().tenant_defaults
    try:
        limits = replace(before.limits, **dict(map(_limit, limit or ())))
        wanted = TenantSettings(limits, _policy(before.moderation, moderate, threshold))
        store.put(tenant, wanted)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(json.dumps({tenant: _object(wanted, is_default=False)}, indent=2))


def _store(profile: str | None, data_dir: Path | None) -> TenantStore:
    from deploy.access import tenant_store

    return tenant_store(given_settings(profile=profile, data_dir=data_dir))


def _limit(given: str) -> tuple[str, int | None]:
    name, _, value = given.partition("=")
    if name not in _LIMITS or not (value == "none" or value.isdecimal()):
        raise ValueError(
            f"'{given}' is no limit: write NAME=NUMBER or NAME=none, with one of {', '.join(_LIMITS)}."
        )
    return name, None if value == "none" else int(value)


def _policy(
    before: ModerationPolicy, places: list[str] | None, thresholds: list[str] | None
) -> ModerationPolicy:
    policy = before
    if places:
        known = [place for place in get_args(Place) if place in places]
        if places != ["nowhere"] and len(known) < len(set(places)):
            raise ValueError(f"Places are {', '.join(get_args(Place))}, or 'nowhere' alone.")
        policy = replace(policy, places=frozenset(known))
    for given in thresholds or ():
        category, _, number = given.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise ValueError(f"'{given}' is no threshold: write a number, or CATEGORY=NUMBER.") from None
        if category:
            policy = replace(policy, thresholds={**policy.thresholds, category: value})
        else:
            policy = replace(policy, threshold=value)
    return policy


def _object(settings: TenantSettings, *, is_default: bool) -> dict[str, Any]:
    policy = settings.moderation
    return {
        "is_default": is_default,
        "limits": asdict(settings.limits),
        "moderation": {
            "places": sorted(policy.places),
            "threshold": policy.threshold,
            "thresholds": dict(policy.thresholds),
        },
    }
