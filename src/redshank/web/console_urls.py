"""The console's addresses. Each view names its permission (`permissions.py`); a test walks them all."""

from __future__ import annotations

from allauth.account import views as allauth
from django.urls import URLPattern, URLResolver, path, re_path

from redshank.web.permissions import open_to
from redshank.web.views import (
    account,
    admin,
    backtests,
    banks,
    campaigns,
    case,
    common,
    media,
    peers,
    queue,
    rules,
    search,
    system,
    ties,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("session/sign-in", open_to("anyone")(allauth.login), name="account_login"),
    path("session/end", open_to("anyone")(allauth.logout), name="account_logout"),
    path("session/inactive", open_to("anyone")(allauth.account_inactive), name="account_inactive"),
    path("session/password", open_to("signed in")(allauth.password_change), name="account_change_password"),
    path("session/new-password", open_to("signed in")(allauth.password_set), name="account_set_password"),
    path("appearance", common.appearance, name="appearance"),
    path("keys", common.keys, name="keys"),
    path("find", account.find, name="find"),
    path("", queue.queue, name="queue"),
    path("start", queue.start, name="start"),
    path("cases/<int:case_id>", case.case, name="case"),
    path("cases/<int:case_id>/decide", case.decide, name="decide"),
    path("cases/<int:case_id>/preview", case.preview, name="preview"),
    path("cases/<int:case_id>/actions", case.actions, name="actions"),
    path("cases/<int:case_id>/status", case.status, name="status"),
    path("cases/<int:case_id>/elsewhere", case.elsewhere, name="elsewhere"),
    re_path(r"^cases/(?P<case_id>\d{1,18})/media/(?P<sha256>[0-9a-f]{64})$", case.media, name="case_media"),
    re_path(
        r"^cases/(?P<case_id>\d{1,18})/(?P<what>take|release|hand-over|escalate|comment)$", case.step, name="case_step"
    ),
    path("decisions/<int:decision_id>/undo", case.undo, name="undo"),
    re_path(r"^media/(?P<sha256>[0-9a-f]{64})\.jpg$", media.preview, name="media_preview"),
    path("media/revealed", media.revealed, name="media_revealed"),
    path("accounts/<str:network>/<path:account_id>/peers", peers.ask, name="peers_ask"),
    path("ties", ties.ties, name="ties"),
    path("ties/<int:tie_id>", ties.tie, name="tie"),
    re_path(r"^ties/(?P<tie_id>\d{1,18})/(?P<what>confirm|reject|undo|never)$", ties.step, name="tie_step"),
    path("never-tie/<int:exception_id>/end", ties.may, name="may_tie"),
    path("never-tie/<str:network>/<path:account_id>", ties.never, name="never_tie"),
    path("accounts/<str:network>/<path:account_id>", account.account, name="account"),
    path("campaigns", campaigns.campaigns_list, name="campaigns"),
    path("campaigns/<int:campaign_id>", campaigns.campaign, name="campaign"),
    path("campaigns/<int:campaign_id>/act", campaigns.act, name="campaign_act"),
    re_path(
        r"^campaigns/(?P<campaign_id>\d{1,18})/(?P<what>name|label|close|open|hand-over|note|split|merge|out)$",
        campaigns.step,
        name="campaign_step",
    ),
    path("campaigns/changes/<int:change_id>/undo", campaigns.undo, name="campaign_undo"),
    re_path(
        r"^campaigns/proposals/(?P<proposal_id>\d{1,18})/(?P<what>agree|refuse|undo)$",
        campaigns.proposal,
        name="campaign_proposal",
    ),
    path("banks", banks.banks, name="banks"),
    path("bank/new", banks.make, name="bank_new"),
    path("bank/search", banks.search, name="bank_search"),
    path("banks/<slug:name>", banks.bank, name="bank"),
    path("banks/<slug:name>/change", banks.change, name="bank_change"),
    path("banks/<slug:name>/add", banks.add, name="bank_add"),
    path("banks/<slug:name>/import", banks.bulk, name="bank_import"),
    path("banks/<slug:name>/entries/<int:entry_id>", banks.entry, name="entry"),
    re_path(
        r"^banks/(?P<name>[-\w]{1,64})/entries/(?P<entry_id>\d{1,18})/"
        r"(?P<what>withdraw|release|dispute|settle|note|confirm|opinion)$",
        banks.entry_step,
        name="entry_step",
    ),
    path("cases/<int:case_id>/bank", banks.from_case, name="case_bank"),
    path("rules", rules.rules, name="rules"),
    path("rule/new", rules.make, name="rule_new"),
    path("rule/check", rules.check, name="rule_check"),
    path("rule/library", rules.library, name="rule_library"),
    path("rules/<str:rule_id>", rules.rule, name="rule"),
    path("rules/<slug:rule_id>/edit", rules.edit, name="rule_edit"),
    path("rules/<slug:rule_id>/did", rules.did, name="rule_did"),
    re_path(
        r"^rules/(?P<rule_id>[-\w]{1,64})/(?P<what>stop-live|stop-shadow|retire|revive)$", rules.step, name="rule_step"
    ),
    path("rules/<slug:rule_id>/versions/<int:number>", rules.version, name="rule_version"),
    re_path(
        r"^rules/(?P<rule_id>[-\w]{1,64})/versions/(?P<number>\d{1,9})/(?P<what>review|withdraw|shadow|live)$",
        rules.version_step,
        name="rule_version_step",
    ),
    re_path(
        r"^rules/(?P<rule_id>[-\w]{1,64})/versions/(?P<number>\d{1,9})/(?P<what>approve|return)$",
        rules.version_review,
        name="rule_version_review",
    ),
    path("backtests", backtests.backtests, name="backtests"),
    path("backtest/new", backtests.ask, name="backtest_new"),
    path("backtests/<int:job_id>", backtests.backtest, name="backtest"),
    path("backtests/<int:job_id>/status", backtests.status, name="backtest_status"),
    path("backtests/<int:job_id>/cancel", backtests.cancel, name="backtest_cancel"),
    path("search", search.search, name="search"),
    path("search/results.csv", search.download, name="search_csv"),
    path("search/keep", search.save, name="search_save"),
    path("search/kept/<int:search_id>/drop", search.drop, name="search_drop"),
    path("events/<str:network>/<path:event_id>", search.event, name="event"),
    path("audit", system.audit, name="audit"),
    path("system", system.system, name="system"),
    path("system/actions/<str:action_id>/resend", system.resend, name="resend"),
    path("system/events/<int:event>/retry", system.retry, name="retry"),
    path("connectors", admin.connectors, name="connectors"),
    re_path(
        r"^connectors/(?P<network>[a-z0-9.-]{1,63})/(?P<what>pause|resume)$", admin.connector, name="connector_step"
    ),
    path("peers", peers.peers, name="peers"),
    path("peers/<slug:name>/end", peers.end, name="peer_end"),
    path("people", admin.all_people, name="people"),
    re_path(r"^people/(?P<username>[\w.@+-]{1,150})/(?P<what>role|on|off|password)$", admin.person, name="person"),
]
