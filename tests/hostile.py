"""Names that would like to be more than names: for people, for models and for providers."""

from __future__ import annotations

# What would run if a name were markup, an address, a style or a template. `window.isHarmed` is looked for afterwards.
_RUN = "window.isHarmed=1"

_MARKUP = [
    f"<script>{_RUN}</script>",
    f'"><script>{_RUN}</script>',
    f"'><script>{_RUN}</script>",
    f"</script><script>{_RUN}</script>",
    f"</title><script>{_RUN}</script>",
    f"</textarea><script>{_RUN}</script>",
    f"</style><script>{_RUN}</script>",
    f"<img src=x onerror={_RUN}>",
    f'"><img src=x onerror={_RUN}>',
    f"' onmouseover={_RUN} x='",
    f'" onfocus={_RUN} autofocus x="',
    f"<svg onload={_RUN}>",
    f"<svg><script>{_RUN}</script></svg>",
    f"<body onload={_RUN}>",
    f"<iframe srcdoc='<script>parent.{_RUN}</script>'>",
    f"<a href=javascript:{_RUN}>click</a>",
    f"<details open ontoggle={_RUN}>",
    f"<input autofocus onfocus={_RUN}>",
    f"<video><source onerror={_RUN}></video>",
    f"<math><mtext><style><img src=x onerror={_RUN}>",
    f"<template shadowrootmode=open><script>{_RUN}</script>",
    f"<object data=javascript:{_RUN}>",
    f"<base href=//evil.example><script src=x.js>",
    f"<link rel=stylesheet href=//evil.example/x.css>",
    f"<meta http-equiv=refresh content='0;javascript:{_RUN}'>",
    f"<form action=javascript:{_RUN}><button>go",
    "<plaintext>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<marquee>",
]
_ADDRESSES = [
    f"javascript:{_RUN}",
    f"JaVaScRiPt:{_RUN}",
    f"data:text/html,<script>{_RUN}</script>",
    "//evil.example/",
    "https://evil.example/?a=b&c=d#e",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/api/v1/usage/export?what=calls",
    "#tab=prices",
    "?user_id=somebody-else",
]
_TEMPLATES = [
    f"{{{{{_RUN}}}}}",
    "{{}}",
    "{{constructor.constructor('return window')()}}",
    f"${{{_RUN}}}",
    f"`${{{_RUN}}}`",
    f"<%= {_RUN} %>",
    "#{7*7}",
    "[[7*7]]",
    "%s%s%n%x",
    "{0}",
    "$&$1$`",
]
_NOTHINGS = [
    "null", "undefined", "NaN", "None", "nil", "true", "false", "0", "-0", "-1", "1e309", "[]", "{}",
    "[object Object]", "constructor", "__proto__", "prototype", "toString", "hasOwnProperty", "unknown", "Total",
    "unattributed", "Unattributed", "–", "\u200b", ".", "'", '"', "\\", "/", "&", "&amp;", "&lt;b&gt;", "%00", "\\u0000",
]
_LETTERS = [
    "\u202egpj.exe", "\u202eتقرير\u202c 123", "\u2066abc\u2069", "\u200f\u200fright", "עברית ושלום", "العربية 123 $4.00",
    "\ufeffmark", "a\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308" * 8, "👩‍👩‍👧‍👦" * 9, "\U000e0041tag", "İstanbul ıI", "ßẞſ", "ﬁﬂ",
    "李雷" * 30, "Ω≈ç√∫", "\ufffd\ufffd", "Zażółć gęślą jaźń", "ʎɐpoʇ", "１２３", "ａｄｍｉｎ", "Ewa\u00a0Administrator", "Еwa",
]
_QUERIES = [
    "'; DROP TABLE entries; --", '" OR "1"="1', "Robert'); DELETE FROM users;--", "=1+1", '=HYPERLINK("//evil.example")',
    "+1", "-1+1", "@SUM(A1)", "a,b;c d", 'a""b', "a|b", "$(reboot)", "`reboot`", "; reboot", "a && b",
]
_LONG = ["x" * 500, "word " * 90 + "end", "W" * 499, "<" * 480, "&" * 500, "-" * 300, "/" * 255, "a/" * 120]


def hostile_names(count: int) -> list[str]:
    """So many different ones: all of the above, then the worst of them with a number behind."""
    names = [*_MARKUP, *_ADDRESSES, *_TEMPLATES, *_NOTHINGS, *_LETTERS, *_QUERIES, *_LONG]
    assert len(set(names)) == len(names)
    numbered = (f"{name} {number}" for number in range(1000) for name in _MARKUP)
    return [*names, *(next(numbered) for _ in range(count - len(names)))][:count]
