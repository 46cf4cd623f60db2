(function () {
  "use strict";
  var body = document.body, live = document.getElementById("live"), busy = false, again = false, failed = 0;

  // What is said again is read out again, so nothing is said twice.
  function say(words) { if (live.textContent !== words) live.textContent = words; }

  function busyWith(part) {
    var at = document.activeElement;
    return part.contains(at) && /^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName) || part.querySelector(".sure");
  }
  function take(found) {
    document.querySelectorAll("[data-live]").forEach(function (part) {
      var other = found.getElementById(part.id);
      if (!other || other.innerHTML === part.innerHTML || busyWith(part)) return;
      var at = Array.from(part.querySelectorAll("a,button")).indexOf(document.activeElement);
      part.replaceChildren.apply(part, Array.from(document.adoptNode(other).childNodes));
      if (at >= 0) { var next = part.querySelectorAll("a,button")[at]; if (next) next.focus(); }
    });
  }
  function refresh() {
    if (document.hidden) return;
    if (busy) { again = true; return; }
    busy = true;
    // An answer that never comes would keep the page as it is for good.
    var patience = window.AbortSignal && AbortSignal.timeout ? AbortSignal.timeout(8000) : undefined;
    fetch(location.href, {headers: {Accept: "text/html"}, credentials: "same-origin", signal: patience}).then(function (answer) {
      if (answer.redirected && answer.url.indexOf("/login") > 0) { location.reload(); return ""; }
      if (answer.status === 404) { failed += 1; say("not there any more"); return ""; }
      if (!answer.ok) throw new Error(String(answer.status));
      return answer.text();
    }).then(function (text) {
      if (!text) return;
      take(new DOMParser().parseFromString(text, "text/html"));
      failed = 0;
      say("live");
    }).catch(function () {
      failed += 1;
      again = again || failed < 3;
      say("the service does not answer");
    }).finally(function () {
      busy = false;
      if (again) { again = false; setTimeout(refresh, failed ? 2000 : 500); }
    });
  }
  if (document.querySelector("[data-live]")) {
    var soon = 0;
    var news = new EventSource(body.dataset.events);
    ["job", "reset"].forEach(function (name) {
      news.addEventListener(name, function () { if (!soon) soon = setTimeout(function () { soon = 0; refresh(); }, 400); });
    });
    window.addEventListener("pagehide", function () { news.close(); });
    document.addEventListener("visibilitychange", refresh);
    (function tick() { setTimeout(function () { refresh(); tick(); }, Math.min(60000, 5000 * (1 + failed))); })();
    say("live");
  }

  // What cannot be taken back asks to be pressed twice.
  document.addEventListener("submit", function (event) {
    var knob = event.target.querySelector("button[data-sure]");
    if (!knob || knob.classList.contains("sure")) return;
    event.preventDefault();
    var words = knob.textContent;
    knob.textContent = words + "? Press again";
    knob.classList.add("sure");
    setTimeout(function () { knob.textContent = words; knob.classList.remove("sure"); }, 4000);
  });

  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    var link = document.querySelector('nav a[accesskey="' + (/^[a-z]$/.test(event.key) ? event.key : "none") + '"]');
    var search = document.getElementById("search");
    if (link) link.click();
    else if (event.key === "/" && search) { event.preventDefault(); search.focus(); }
  });
})();
