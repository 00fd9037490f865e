"""The frame of every HTML page: one file, nothing loaded from elsewhere."""

from base64 import b64encode
from html import escape


def document(title: str, what: str, parts: list[str]) -> str:
    """Return a page; `parts` are HTML, `title` and `what` are text."""
    return _FRAME.format(title=escape(title), what=escape(what), body="\n".join(parts))


def figure(title: str, image: bytes) -> str:
    """Return a PNG image with its title above it, inside the page."""
    data = b64encode(image).decode()
    name = escape(title)
    return (
        f'<figure><figcaption>{name}</figcaption><img alt="{name}" '
        f'src="data:image/png;base64,{data}"></figure>'
    )


_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - {what}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #2b2f36; background: #f5f6f8; margin: 0 auto;
       max-width: 1180px; padding: 24px; }}
h1 {{ font-size: 24px; margin: 0; }}
h2 {{ font-size: 18px; margin: 28px 0 0; }}
table {{ border-collapse: collapse; background: #fff; border-radius: 8px; margin: 16px 0;
        box-shadow: 0 1px 3px #0001; }}
td, th {{ padding: 5px 18px; text-align: right; border-bottom: 1px solid #eef0f3;
         font-variant-numeric: tabular-nums; }}
td:first-child {{ text-align: left; color: #5b6270; }}
.shares {{ font-size: 13px; }}
.shares td, .shares th {{ padding: 3px 12px; }}
.bar {{ background: linear-gradient(90deg, #2563a826 var(--share), transparent 0); }}
.charts {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr));
          gap: 16px; }}
figure {{ background: #fff; border-radius: 8px; padding: 14px; margin: 0;
         box-shadow: 0 1px 3px #0001; }}
figcaption {{ font-weight: 600; margin-bottom: 6px; }}
img {{ width: 100%; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
