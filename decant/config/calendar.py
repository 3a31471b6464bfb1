"""When something is due: calendars of systemd, and what crontab(5) has, as such calendars."""

import re
from dataclasses import dataclass

DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
EVERY = ("hourly", "daily", "weekly", "monthly", "yearly")
WHAT = "a calendar such as daily or *-*-* 03:00, or cron's five fields such as 0 3 * * *"


def calendars(text: str) -> tuple[str, ...]:
    """Return the calendars of systemd.time(7) for a text of either kind; the server checks those.

    More than one where cron means "or": a day of the month, or a day of the week. Raises ValueError
    for cron's fields that are wrong, and for what is neither.
    """
    if len(text.split()) == 5:
        return _of_cron(*text.split())
    if text.startswith("@"):
        word = {"@annually": "yearly", "@midnight": "daily"}.get(text, text.removeprefix("@"))
        if word in EVERY:
            return (word,)
    if not re.fullmatch(r"[A-Za-z0-9*,:/.~_ -]+", text) or text.startswith("-"):
        raise ValueError(f"should be {WHAT}")
    return (text,)


@dataclass(frozen=True)
class Field:
    """One of cron's fields: its name, its numbers, and the words for them from `low` on."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    def values(self, text: str) -> tuple[int, ...]:
        """Return the numbers that a field names, in their order."""
        found: set[int] = set()
        for part in text.split(","):
            match = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/([1-9][0-9]*))?", part, re.ASCII)
            if not match or (match[1] == "*" and match[2]):
                raise self._wrong(part)
            if match[1] == "*":
                first, last = self.low, self.high
            else:
                first = self._number(match[1], part)
                # 5/10 is 5-59/10, as most crons have it
                last = self._number(match[2], part) if match[2] else first
                last = self.high if match[3] and not match[2] else last
            if first > last:
                raise self._wrong(part)
            found.update(range(first, last + 1, int(match[3] or 1)))
        return tuple(sorted(found))

    def _number(self, text: str, part: str) -> int:
        if text.lower() in self.words:
            return self.low + self.words.index(text.lower())
        if text.isdigit() and self.low <= int(text) <= self.high:
            return int(text)
        raise self._wrong(part)

    def _wrong(self, part: str) -> ValueError:
        return ValueError(
            f"{part} is no {self.name} of crontab(5), {self.low} to {self.high}; or a calendar such"
            " as *-*-* 03:00"
        )


MINUTE, HOUR = Field("minute", 0, 59), Field("hour", 0, 23)
DAY, MONTH = Field("day of the month", 1, 31), Field("month", 1, 12, MONTHS)
WEEKDAY = Field("day of the week", 0, 7, tuple(day.lower() for day in DAYS))


def _of_cron(minute: str, hour: str, day: str, month: str, weekday: str) -> tuple[str, ...]:
    clock = f"{_listed(MINUTE, minute, 2)}:00"
    clock = f"{_listed(HOUR, hour, 2)}:{clock}"
    months, days = _listed(MONTH, month, 2), _listed(DAY, day, 2)
    numbers = {number % 7 for number in WEEKDAY.values(weekday)}
    names = "" if len(numbers) == 7 else ",".join(DAYS[number] for number in sorted(numbers)) + " "
    # crontab(5): where both are restricted, either of them is enough.
    if names and days != "*" and not (day.startswith("*") or weekday.startswith("*")):
        return (f"*-{months}-{days} {clock}", f"{names}*-{months}-* {clock}")
    return (f"{names}*-{months}-{days} {clock}",)


def _listed(field: Field, text: str, width: int) -> str:
    values = field.values(text)
    if len(values) == field.high - field.low + 1:
        return "*"
    return ",".join(f"{value:0{width}}" for value in values)
