"""Access, judged by axe-core: WCAG 2.2 AA in every state that a visitor sees, light and dark, wide and narrow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import scenery
from playwright.sync_api import Browser, Page
from visitor import Visitor

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOK = """async (rules) => {
  const state = document.querySelector('.ed').dataset.scale ? 'running' : document.querySelector('.ed').dataset.state;
  const found = await axe.run(document, { runOnly: rules, resultTypes: ['violations'] });
  const faults = found.violations.flatMap((one) => one.nodes.map((node) =>
    [one.id, node.target.join(' '), node.failureSummary.split('\\n').slice(1).join(' ').trim()].join(' | ')));
  return { state, faults, rules: found.passes.length + found.violations.length }; }"""


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file() and not os.environ.get("CI"):
        pytest.skip("axe-core is not installed: npm ci")
    return AXE.read_text(encoding="utf-8")


def faults(page: Page) -> tuple[str, list[str]]:
    """The state that was looked at, and what is wrong in it."""
    found = page.evaluate(LOOK, RULES)
    assert found["rules"] > 15, "hardly anything was judged"
    return found["state"], found["faults"]


def settled(page: Page) -> None:
    """Nothing fades or moves any more."""
    page.wait_for_function("document.getAnimations().every((one) => one.effect.getTiming().iterations === Infinity)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_no_state_shuts_anybody_out(browser: Browser, url: str, axe: str, width: int, dark: bool) -> None:
    visitor = Visitor(browser, url, width, 900, dark=dark, detail=False)
    page, wrong = visitor.page, {}
    page.evaluate(axe)

    def look(name: str, state: str) -> None:
        if state != "running":
            settled(page)
        seen, found = faults(page)
        assert seen == state, f"{name} was looked at while {seen}"
        wrong[name] = found

    look("idle", "empty")
    visitor.opened(scenery(300, 200))
    visitor.stroke((0.3, 0.4), (0.6, 0.6))
    look("painted", "open")
    page.click("[data-act=more]")
    look("more tools", "open")
    page.click("[data-act=more]")
    visitor.versions(8)
    visitor.begin()
    page.wait_for_function("Number(document.querySelector('.ed').dataset.scale) >= 1", polling="raf")
    look("running", "running")
    visitor.done()
    look("done", "done")
    page.click("#save")
    look("saving", "done")
    page.keyboard.press("Escape")
    page.click("#settings")
    look("settings", "done")
    page.keyboard.press("Escape")
    for mode in ("Replace", "Expand", "Vary", "Create"):
        visitor.mode(mode)
        look(mode, page.locator(".ed").get_attribute("data-state") or "")
    visitor.close()
    where: dict[str, list[str]] = {}
    for name, found in wrong.items():
        for fault in found:
            where.setdefault(fault, []).append(name)
    assert not where, "\n" + "\n".join(f"{fault} (in {', '.join(names)})" for fault, names in where.items())


def test_the_judge_is_not_blind(browser: Browser, url: str, axe: str) -> None:
    """A pale text, a control without a name and one too small to hit are found."""
    visitor = Visitor(browser, url, detail=False)
    visitor.page.evaluate(axe)
    visitor.page.evaluate(
        """() => document.querySelector('.ed').insertAdjacentHTML('beforeend', '<div style="position:fixed;top:0;'
        + 'left:0;z-index:99"><p id=pale style="color:#bbb;background:#fff">pale</p><button id=nameless></button>'
        + '<button id=one style="all:unset;width:8px;height:8px">a</button>'
        + '<button id=two style="all:unset;width:8px;height:8px">b</button></div>')"""
    )
    _, found = faults(visitor.page)
    for rule, target in (("color-contrast", "#pale"), ("button-name", "#nameless"), ("target-size", "#one")):
        assert [one for one in found if one.startswith(rule) and target in one], f"{rule} was not seen"
    visitor.close()
