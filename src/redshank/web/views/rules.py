"""The rules in force, as they were loaded: what each looks for and what it asks for."""

from __future__ import annotations

import msgspec
from django.http import Http404, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from redshank.core import Effect, Problem
from redshank.rules import services
from redshank.web.permissions import Asked, needs


@require_GET
@needs("rules.view")
def rules(request: Asked) -> HttpResponseBase:
    """All rules, live ones first."""
    try:
        loaded = services.current_rules()
    except Problem as problem:
        return render(request, "console/rules.html", {"problem": problem, "path": services.rules_path()})
    order = {"live": 0, "shadow": 1, "off": 2}
    ordered = sorted(loaded.rules, key=lambda rule: (order.get(rule.mode, 3), rule.id))
    return render(request, "console/rules.html", {"rules": ordered, "path": services.rules_path()})


@require_GET
@needs("rules.view")
def rule(request: Asked, rule_id: str) -> HttpResponseBase:
    """One rule, as it is written."""
    try:
        found = next((one for one in services.current_rules().rules if one.id == rule_id), None)
    except Problem:
        return redirect("rules")  # which says what is wrong with them
    if found is None:
        raise Http404(_("There is no rule of this name."))
    effects = [_said(effect) for effect in found.effects]
    return render(request, "console/rule.html", {"rule": found, "effects": effects})


def _said(effect: Effect) -> str:
    values = {**msgspec.to_builtins(effect)}
    name = str(values.pop("effect")).replace("_", " ")
    return f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items()) if values else name
