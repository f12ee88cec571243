// The page around both tools: light or dark, as the book has it, and which of the two is shown.
"use strict";

{
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("theme") ?? "auto"; // the book's own setting
    } catch {
      return "auto";
    }
  };
  const isDark = () => (stored() === "auto" ? dark.matches : stored() === "dark");
  const paint = () => (root.dataset.theme = isDark() ? "dark" : "light");
  paint();
  dark.addEventListener("change", paint);

  /** Show one of the tools, "judge" or "play". */
  const show = (name) => {
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const chosen = tab.id === `tab-${name}`;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
    }
    dispatchEvent(new CustomEvent("shown", { detail: name }));
  };
  const named = () => (location.hash === "#play" ? "play" : "judge");

  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").onclick = () => {
      try {
        localStorage.setItem("theme", isDark() ? "light" : "dark");
        paint();
      } catch {
        root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
      }
    };
    const tabs = [...document.querySelectorAll("[role=tab]")];
    for (const tab of tabs) {
      const name = tab.id.slice("tab-".length);
      tab.onclick = () => {
        history.replaceState(null, "", `#${name}`);
        show(name);
      };
      tab.onkeydown = ({ key }) => {
        if (key !== "ArrowLeft" && key !== "ArrowRight") return;
        const other = tabs[1 - tabs.indexOf(tab)];
        other.focus();
        other.click();
      };
    }
    addEventListener("hashchange", () => show(named()));
    addEventListener("load", () => show(named()));
  });
}
