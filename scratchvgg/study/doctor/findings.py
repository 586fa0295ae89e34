"""Findings and what they add up to."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...weights.atomic import atomic_write
from ..shown import Shown, plain

SEVERITIES = ("bad", "warn", "info", "good")
"""In the order in which findings are shown."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: name of the check.
        severity: ``"bad"`` (keeps the net from learning), ``"warn"`` (may), ``"info"`` (worth knowing), ``"good"`` (looked at, in order).
        title: one line.
        evidence: the numbers behind it, in words.
        suggestion: what to try, as a flag or a line of code; empty where there is nothing to do.
        weight: how near to the root it lies, 0 to 100: among findings of one severity the greater comes first. NaN in the data explains NaN
            in the loss, not the other way round.
        numbers: the evidence for programs.
    """

    check: str
    severity: str
    title: str
    evidence: str
    suggestion: str = ""
    weight: float = 50
    numbers: dict = field(default_factory=dict)

    def to_dict(self) -> dict:
        """The fields as plain values, without ``weight``."""
        return {"check": self.check, "severity": self.severity, "title": self.title, "evidence": self.evidence, "suggestion": self.suggestion,
                "numbers": plain(self.numbers)}


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first; among equals the likeliest cause first."""
    return sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), -finding.weight))


@dataclass
class Diagnosis(Shown):
    """What the doctor says.

    Attributes:
        subject: what was examined: the run's folder or the net.
        facts: a few (name, value) pairs about it, as text.
        findings: the likeliest cause first.
        skipped: (check, why) of checks that had nothing to go by, or no time left.
        seconds: that it took.
    """

    title = "Why isn't it learning?"

    subject: str
    facts: list[tuple[str, str]]
    findings: list[Finding]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self):
        self.findings = ordered(self.findings)

    @property
    def healthy(self) -> bool:
        """Nothing is bad."""
        return not self.of("bad")

    @property
    def headline(self) -> str:
        """The likeliest cause, in one line."""
        worst = self.findings[0] if self.findings else None
        if worst is None or worst.severity in ("info", "good"):
            return "Nothing is wrong that these checks can see."
        return worst.title if worst.severity == "bad" else f"Nothing is broken. To look at: {worst.title}"

    def of(self, severity: str) -> list[Finding]:
        """The findings of a severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def trials(self) -> list[dict]:
        """The range test as lines ``{"name", "x", "y"}`` (step, loss), each up to where it leaves twice the first loss; empty without one."""
        lines = []
        for trial in next((f.numbers["trials"] for f in self.findings if "trials" in f.numbers), []):
            high = 2 * trial["losses"][0]
            losses = list(itertools.takewhile(lambda loss, high=high: loss < high, trial["losses"]))
            lines.append({"name": f"{trial['rate']:.3g}", "x": list(range(len(losses))), "y": losses})
        return lines

    def to_dict(self) -> dict:
        """``{"subject", "healthy", "headline", "facts", "findings", "skipped", "seconds"}``; see :class:`Finding` for a finding."""
        return {"subject": self.subject, "healthy": self.healthy, "headline": self.headline, "facts": dict(self.facts),
                "findings": [finding.to_dict() for finding in self.findings],
                "skipped": [{"check": name, "why": why} for name, why in self.skipped], "seconds": round(self.seconds, 2)}

    def __str__(self):
        lines = [f"{self.subject}: {self.headline}", ""]
        lines += [f"  {name}: {value}" for name, value in self.facts] + [""] * bool(self.facts)
        for finding in (f for f in self.findings if f.severity != "good"):
            lines += [f"{_MARKS[finding.severity]} {finding.title}", *_block(finding.evidence)]
            lines += [*_block(finding.suggestion, "try: "), ""] if finding.suggestion else [""]
        good = self.of("good")
        if good:
            lines += ["In order:", *(line for f in good for line in _block(f"{f.title}: {f.evidence}", "- ", "  ")), ""]
        if self.skipped:
            lines += _block("; ".join(f"{name} ({why})" for name, why in self.skipped), "not looked at: ", "")
        return "\n".join([*lines, f"{len(self.of('bad'))} bad, {len(self.of('warn'))} to look at, {len(good)} in order; {self.seconds:.0f} s"])

    def to_html(self):
        """The findings as a list of cards."""
        from .. import page

        return page.render("sections/doctor.html", it=self)

    def save_html(self, path) -> None:
        """Write a page of its own, atomically.

        Raises:
            ImportError: naming the extra, without jinja2. OSError: if the folder cannot be written to.
        """
        from .. import page

        text = page.document(f"Doctor: {self.subject}", [page.Section("findings", self.title, self.to_html())], data=self.to_dict())
        with atomic_write(path, "w") as file:
            file.write(text)


_MARKS = {"bad": "BAD ", "warn": "LOOK", "info": "note"}


def _block(text: str, first: str = "", indent: str = "     ") -> list[str]:
    return textwrap.wrap(text, 120, initial_indent=indent + first, subsequent_indent=indent + " " * len(first), break_long_words=False)
