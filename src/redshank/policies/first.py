"""A first set of policies for violent extremism, to start from. An operator changes, retires and adds to them.

It is put into a store that has no policy at all, after its tables were made (or emptied, as tests do): cases and banks
cannot be without one. Sources of the grounds: Regulation (EU) 2021/784 (terrorist content online), Article 2(7);
Directive (EU) 2017/541 (combating terrorism), Articles 6, 7 and 11, which hold as each member state has written them
into its law; Regulation (EU) 2022/2065 (Digital Services Act), Article 18, on suspicions of crimes that threaten life or
safety.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed_apps

APPEAL = "If you think that this is wrong, you can appeal, and a person who was not involved will look at it again."

POLICIES: list[dict[str, Any]] = [
    {
        "slug": "terrorist-content",
        "name": "Terrorist content",
        "summary": "Material that incites to a terrorist offense, also by glorifying one, or that a terrorist group made"
        " to that end. Reporting, teaching, research, art and counter-speech are not meant.",
        "ground": "Regulation (EU) 2021/784, Article 2(7)(a)",
        "legal": True,
        "message": "This is about {subject}, which was {action}. We found that it is terrorist content as the law of the"
        " European Union defines it: it incites to terrorist offenses.",
    },
    {
        "slug": "threat-to-person",
        "name": "Threat to people",
        "summary": "A statement or picture that threatens a person, a group or a place with serious violence. Where life"
        " or safety may be at stake, the authorities are told as well.",
        "ground": "Criminal law on threats, as in the member state concerned; Regulation (EU) 2022/2065, Article 18;"
        " Regulation (EU) 2021/784, Article 2(7)(e)",
        "legal": True,
        "message": "This is about {subject}, which was {action}. We found that it threatens people with violence.",
    },
    {
        "slug": "recruitment",
        "name": "Recruitment for violent groups",
        "summary": "Asking others to join, help or take part in a group that commits or prepares terrorist offenses, or"
        " leading them to where such a group recruits.",
        "ground": "Directive (EU) 2017/541, Article 6; Regulation (EU) 2021/784, Article 2(7)(b) and (c)",
        "legal": True,
        "message": "This is about {subject}, which was {action}. We found that it asks people to join or help a group"
        " that commits acts of terrorism.",
    },
    {
        "slug": "attack-instructions",
        "name": "Instructions for attacks",
        "summary": "Instructions for making or using weapons, explosives or noxious substances, or for other means of"
        " attack, given so that attacks can be carried out.",
        "ground": "Regulation (EU) 2021/784, Article 2(7)(d); Directive (EU) 2017/541, Article 7",
        "legal": True,
        "message": "This is about {subject}, which was {action}. We found that it tells how to carry out an attack.",
    },
    {
        "slug": "terrorist-financing",
        "name": "Financing of terrorism",
        "summary": "Collecting or giving money or other means so that they serve terrorist offenses or groups.",
        "ground": "Directive (EU) 2017/541, Article 11",
        "legal": True,
        "message": "This is about {subject}, which was {action}. We found that it raises means for a group that commits"
        " acts of terrorism.",
    },
    {
        "slug": "violent-extremism-support",
        "name": "Support of violent extremism",
        "summary": "Praising or promoting violent extremist groups, persons or deeds, or spreading their material with"
        " approval. Naming them is not supporting them.",
        "ground": "Terms of service, section on violent extremism",
        "legal": False,
        "message": "This is about {subject}, which was {action}. Our terms do not allow support of violent extremist"
        " groups, persons or deeds, and we found that it is such support.",
    },
    {
        "slug": "attack-footage",
        "name": "Footage of attacks by attackers",
        "summary": "Pictures, video or streams of an attack made or spread by those who carried it out or to honor them."
        " News and evidence of crimes by others are not meant, if they do not show it for its own sake.",
        "ground": "Terms of service, section on attacks and their perpetrators",
        "legal": False,
        "message": "This is about {subject}, which was {action}. Our terms do not allow footage that attackers made of"
        " their deeds, out of respect for those who were hurt, and because it moves others to do the same.",
    },
    {
        "slug": "ban-evasion",
        "name": "Ban evasion",
        "summary": "Coming back by another account while one's own is suspended for violent extremism.",
        "ground": "Terms of service, section on suspended accounts",
        "legal": False,
        "message": "This is about {subject}, which was {action}. Our terms do not allow another account while one is"
        " suspended, and we found that both have the same owner.",
    },
]


def seed(*, using: str, apps: Any = installed_apps, **_signal: Any) -> None:
    """Receives Django's `post_migrate`: fills the table of policies if it is there and empty."""
    try:
        policy = apps.get_model("policies", "Policy")
    except LookupError:  # Migrated to a time before policies.
        return
    if policy.objects.using(using).exists():
        return
    policy.objects.using(using).bulk_create(
        [
            policy(**{**fields, "message": f"{fields['message']} {{reason}}\n\n{APPEAL}"}, position=position)
            for position, fields in enumerate(POLICIES, start=1)
        ],
        ignore_conflicts=True,  # Two that migrate at once.
    )
