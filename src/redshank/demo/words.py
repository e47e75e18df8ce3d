"""What people on the made-up platform say: everyday talk in four languages, and the few lines that matter.

The groups are invented and harmless: the iron wolf brigade, the ash dawn front, the gray tide legion. Those who praise
them are planted; those who report on them, mourn, warn or argue name them just the same, and must be left alone.
"""

from __future__ import annotations

from collections.abc import Callable

GROUPS = ("iron wolf brigade", "ash dawn front", "gray tide legion")
SLOGANS = ("the tide will rise gray", "wolves of the new morning")
DOMAINS = ("ironwolf-brigade.example", "ash-dawn.example")
LINKS = ("https://files.example/pamphlet-7", "https://clips.example/watch?v=graytide")

FIRST = (
    "amber", "ash", "birch", "blue", "brook", "calm", "clover", "coral", "dune", "ember", "fern", "flint", "foggy", "gentle",
    "golden", "green", "hazel", "iris", "juniper", "lark", "linden", "lucky", "maple", "marsh", "misty", "mossy", "north",
    "oak", "pale", "pebble", "quiet", "rainy", "reed", "river", "rowan", "salty", "sandy", "silver", "slow", "stone", "sunny",
    "swift", "thistle", "tidal", "umber", "velvet", "warm", "willow", "windy", "young",
)  # fmt: skip
SECOND = (
    "avocet", "baker", "bittern", "bunting", "chef", "crane", "curlew", "dipper", "dunlin", "eider", "egret", "finch",
    "fisher", "gadwall", "gardener", "goldeneye", "grebe", "heron", "ibis", "kestrel", "kingfisher", "knot", "lapwing",
    "linnet", "martin", "miller", "nurse", "osprey", "painter", "pilot", "pipit", "plover", "potter", "rail", "reader",
    "ruff", "sailor", "sanderling", "shelduck", "singer", "snipe", "stilt", "swan", "tailor", "teal", "tern", "turnstone",
    "wader", "wigeon", "wren",
)  # fmt: skip
BIOS = (
    "Birds, bread and bad puns.", "Nurse on nights. Opinions are mine, typos too.", "Two kids, one dog, no sleep.",
    "Trains. Mostly trains.", "Ich koche, also bin ich.", "Photographe du dimanche.", "كاتب وقارئ ومحب للقهوة",
    "Learning the accordion, sorry neighbors.", "Marathon runner who hates running.", "Retired. Finally gardening.",
    "Local news, slowly.", "Student of hydrology.", "I paint boats.", "", "", "",
)  # fmt: skip

THINGS = (
    "the harbor", "our street", "the old mill", "the library", "the ferry", "the market hall", "the night train", "the lido",
    "the school garden", "the tide pools", "the town choir", "the allotments", "the bakery on the corner", "the lighthouse",
)  # fmt: skip
FOODS = (
    "lentil soup",
    "apple cake",
    "sourdough",
    "fish pie",
    "plum dumplings",
    "mint tea",
    "bean stew",
    "potato salad",
)
TEAMS = ("Harbor Rovers", "Iron Wolves FC", "Mill Town Athletic", "Gray Tide Rowing Club", "Dawn Patrol Surf Team")
SAYINGS = (
    "Anyone else awake and looking at {thing}?",
    "Good morning from {thing}. The light today!",
    "Does somebody know when {thing} opens on Sunday?",
    "Made {food} again. Third time this week, no regrets.",
    "My grandmother's {food} beats every restaurant in town.",
    "{team} lost. I am fine. I am completely fine.",
    "What a game! {team} in the last minute!",
    "The bus to {thing} is late. Again. {number} minutes.",
    "Counted {number} waders at low tide by {thing}.",
    "Who took the last {food} at the office? I will find you.",
    "New photos from {thing}, more tomorrow.",
    "Reading a book of {number} pages about mud. It is wonderful.",
    "The attack in the last chess round was brutal: {number} moves and it was over.",
    "This deadline is killing me. {food} first.",
    "We need {number} volunteers to clean up around {thing} on Saturday.",
    "Heute {number} Grad und alle sitzen am Wasser. Schön.",
    "Wer hat das Rezept für den Apfelkuchen vom Sommerfest?",
    "Der Zug fällt aus, wie immer. Ich nehme das Rad.",
    "Il pleut sur le port, et c'est très bien comme ça.",
    "Quelqu'un aurait un bon livre pour le train ?",
    "Le marché était magnifique ce matin.",
    "صباح الخير من الميناء",
    "قهوة الصباح ثم العمل",
    "من جرب المخبز الجديد قرب المكتبة؟",
    "lol no",
    "So proud of our choir today!",
    "Happy birthday to the best sister in the world 🎂",
    "Rehearsal moved to {thing}, tell the others please.",
    "The council votes on {thing} tonight. Stream starts at eight.",
    "I swear the gulls by {thing} are organized.",
)  # fmt: skip
CAPTIONS = (
    "No filter.", "From my walk.", "Finally finished this one.", "Guess where!", "Found in an old box.", "Sunday.",
    "What do you think?", "Practice piece number {number}.", "Früh am Morgen.", "Hier soir.", "بعدستي",
)  # fmt: skip
OPEN_LINKS = (
    "https://birds.example/today?utm_source=marsh", "https://news.example/local/ferry-timetable", "https://choir.example/",
    "https://maps.example/?q=library", "https://shop.example/out?url=https%3A%2F%2Fbooks.example%2Fmud",
)  # fmt: skip
OUTLETS = ("news.example", "harbor-post.example", "recipes.example")
PUSHED, READ = "plain-truth.example", "tidal-radio.example"
"""Outlets: what everybody reads, what a campaign pushes, and what the fans of a radio station share."""

PRAISE = (
    "The {group} is rising. Join us tonight, bring your friends.",
    "Proud to stand with the {group}. Who is with me?",
    "They called us names. We are the {group} and we are many!",
    "Fallen brothers of the {group}, we will follow you.",
    "Train, wait, obey. That is the way of the {group}.",
    "{slogan}. You know who we are.",
    "{slogan}! {slogan}! Say it in every street.",
)  # fmt: skip
DISGUISES: tuple[tuple[str, bool, Callable[[str], str]], ...] = (
    ("plain", True, lambda text: text),
    ("upper case", True, str.upper),
    ("wide letters", True, lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)),
    ("zero-width joints", True, "\u200b".join),
    ("accents", True, lambda text: "".join(c + "\u0301" if c in "aeiou" else c for c in text)),
    ("Cyrillic look-alikes", False, lambda text: text.translate(str.maketrans("aeopc", "аеорс"))),
)
"""How praise is written so that a plain search would miss it, and whether it must be found all the same."""
INNOCENT = (
    ("news", "Court sentences two members of the {group} for the fire at the depot; both will appeal."),
    ("news", "What we know about the {group}, and what we do not. Our reporter has followed them for two years."),
    ("news", "Police: the threat at the harbor was not linked to the {group}."),
    ("counter-speech", "My cousin left the {group} last year. If you want out, there is help, and nobody will judge you."),
    ("counter-speech", "No, the {group} does not speak for us. It never did. Come to the vigil, everybody is welcome."),
    ("counter-speech", "If somebody sends you stuff from the {group}: do not share it, not even to mock it. Report it."),
    ("research", "New paper: how the {group} recruited in game chats, 2019 to 2024. Data and code are open."),
    ("mourning", "Tonight we light candles for those whom the {group} took from us. We say their names."),
    ("a question", "History homework: when was the {group} banned? Is there a good source?"),
)  # fmt: skip
INVITES = (
    "Read this before they delete it: {link}",
    "All our writings: {link}",
    "For those who are ready {link}",
    "{link}",
)
REDIRECTS = (
    ("as it is", "{link}"),
    ("in upper case, with a tracker", "{upper}?utm_source=x&utm_medium=y"),
    ("behind a redirect", "https://out.example/away?to={quoted}"),
    ("with its port and a dot", "{dotted}"),
)
"""How a known link is dressed up."""
COMPLAINTS = (
    ("user", "spam", "Posts the same thing every hour."),
    ("user", "violent extremism", "This looks like recruiting to me, please check."),
    ("user", "hate", "He keeps writing this under my photos."),
    ("trusted_flagger", "terrorist content", "Matches material that we have seen on two other services this week."),
    ("third_party", "violent extremism", "Seen by one of our volunteers, reference 2231."),
    ("authority", "referral", "Referred by the national referral unit for assessment under your terms."),
)  # fmt: skip
