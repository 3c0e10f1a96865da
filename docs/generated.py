"""The reference's pages from the code: commands, settings, fields of objects and of files."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

from carbonfleet.cli import app
from carbonfleet.hub.settings import HubSettings
from carbonfleet.settings import PREFIX, Settings
from carbonfleet.spoke.settings import AgentSettings

ROOT = Path(__file__).parents[1]
PAGES = {
    "crds/README.md": "writing-jobs",
    "crds/STATUS.md": "status",
    "crds/HOLDS.md": "holds",
    "kustomize/README.md": "overlays",
    "kustomize/OPERATING.md": "operating",
    "kustomize/METRICS.md": "metrics",
    "kustomize/RUNBOOK.md": "runbook",
    "fleet/README.md": "fleet-repository",
    "operator/carbonfleet/signals/README.md": "signal-sources",
    "workloads/lora/README.md": "training",
    "DECISIONS.md": "decisions",
    "CHANGELOG.md": "changelog",
}
"""Pages that stand beside what they speak of, and their names here."""


def write_all(folder: Path) -> None:
    """Each page, written only where it changed, so that a build that is repeated reads nothing anew."""
    pages = {
        "commands": commands(),
        "job": fields_of_crd("carbontrainingjob", "A job's fields"),
        "schedule": fields_of_crd("carbontrainingschedule", "A schedule's fields"),
        "spoke": fields_of_crd("spokecluster", "A spoke's fields"),
        "report": fields_of_crd("trainingreport", "A report's fields"),
        "cluster-file": fields_of_schema("cluster-facts", "A cluster file's fields", "clusters/NAME/cluster.yaml"),
        "policy-file": fields_of_schema("fleet-policy", "A policy file's fields", "policies/NAME.yaml"),
        "settings": settings(),
        "dashboard": dashboard(),
    }
    pages |= {name: beside_code(path) for path, name in PAGES.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def beside_code(path: str) -> str:
    """A page of the tree, whose links to pages lead here, and whose links to other files are their names."""
    here = (ROOT / path).parent

    def link(found: re.Match[str]) -> str:
        text, target = found[1], found[2]
        if re.match(r"[a-z]+:", target):
            return found[0]
        file, _, anchor = target.partition("#")
        whole = str((here / file).resolve().relative_to(ROOT)) if file else path
        if whole not in PAGES:
            return f"{text} (`{whole}`)" if whole != text.strip("`") else f"`{whole}`"
        return f"[{text}]({PAGES[whole]}.md{'#' + anchor if anchor else ''})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", link, (ROOT / path).read_text(encoding="utf-8"))


def cell(text: object) -> str:
    """Text as it stands in a table's cell."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\|<>*_\[\]])", r"\\\1", line)


def code(text: object) -> str:
    """Text as code in a table's cell; nothing for none."""
    line = " ".join(str(text).split()).replace("|", r"\|")
    return f"`` {line} ``" if "`" in line else f"`{line}`" if line else ""


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; nothing where it has no rows."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def commands() -> str:
    """Every command: its usage, what it does, its arguments and options."""
    root = typer.main.get_command(app)
    context = root.context_class(root, info_name="carbonfleet")
    text = "# Commands\n\n`carbonfleet COMMAND --help` prints the same.\n"
    for command, each in _leaves(root, context):
        text += f"\n## `{each.command_path}`\n\n{_paragraphs(command.help)}\n\n"
        usage = " ".join(command.collect_usage_pieces(each))
        text += f"```text\n{each.command_path} {usage}\n```\n\n"
        text += table(("argument or option", "default", "what"), [_parameter(each, given) for given in command.params])
    return text


def _leaves(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - Click's commands
    names = command.list_commands(context) if hasattr(command, "list_commands") else []
    if not names or getattr(command, "invoke_without_command", False):
        yield command, context
    for name in names:
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield from _leaves(found, found.context_class(found, info_name=name, parent=context))


def _parameter(context: Any, given: Any) -> tuple[str, str, str]:  # noqa: ANN401 - Click's parameters
    if given.param_type_name == "argument":
        name = code(given.display_name_raw)
    else:
        name = ", ".join(code(each) for each in (*given.opts, *given.secondary_opts))
        name += "" if getattr(given, "is_flag", False) else " " + code(given.display_type(context))
    default = given.get_default(context, call=False)
    shown = getattr(given, "show_default", True)
    is_said = shown is not False and default not in (None, False, (), []) and not callable(default)
    text = shown if isinstance(shown, str) else str(default) if is_said else ""
    named = f" Environment: {code(given.envvar)}." if getattr(given, "envvar", None) else ""
    help_text = re.sub(r"\\\[([^\]]*)\]", r"[\1]", getattr(given, "help", "") or "")
    return name, code(text), cell(help_text) + named


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(cell(each) for each in re.split(r"\n\s*\n", text or "") if each.strip())


def settings() -> str:
    """Settings of the hub and of the agent: flag, name in environment and file."""
    text = (
        "# Settings\n\nA flag stands over the environment, the environment over the file that `--settings` names. "
        f"In the environment a name is upper case behind `{PREFIX}`; in the file it is the flag's without dashes "
        "in front.\n"
    )
    for title, model in (
        ("Hub: `carbonfleet hub run`", HubSettings),
        ("Agent: `carbonfleet spoke run`", AgentSettings),
    ):
        text += f"\n## {title}\n\n" + table(("setting", "default", "what"), list(_settings(model)))
    return text


def _settings(model: type[Settings]) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("internal"):
            continue
        default = "" if field.default_factory is not None or field.default in (None, "") else str(field.default)
        needed = " **Needed.**" if field.is_required() else ""
        yield code(name.replace("_", "-")), "" if needed else code(default), cell(field.description or "") + needed


def dashboard() -> str:
    """Grafana's dashboard as it lies: each panel in its place, with its query."""
    file = "kustomize/components/monitoring/carbonfleet.json"
    panels = json.loads((ROOT / file).read_text(encoding="utf-8"))["panels"]
    text = (
        "# The dashboard\n\nThe component `monitoring` has it as a ConfigMap that Grafana's sidecar takes "
        f"(`{file}`). Each panel is drawn here in its place, with what it asks of Prometheus; "
        "[](metrics.md) says what each metric means.\n"
    )
    for panel in sorted(panels, key=lambda each: (each["gridPos"]["y"], each["gridPos"]["x"])):
        if panel["type"] == "row":
            text += ("</div>\n\n" if "<div" in text else "\n") + f'## {panel["title"]}\n\n<div class="dashboard">\n'
            continue
        queries = "".join(f"<code>{html.escape(each['expr'])}</code>" for each in panel.get("targets", ()))
        text += (
            f'<section style="grid-column: span {panel["gridPos"]["w"]}">'
            f"<strong>{html.escape(panel['title'])}</strong> <small>{panel['type']}</small>{queries}</section>\n"
        )
    return text + "</div>\n"


def fields_of_crd(name: str, title: str) -> str:
    """The fields of one of our objects."""
    definition = yaml.safe_load((ROOT / "crds" / f"{name}.yaml").read_text(encoding="utf-8"))
    found = definition["spec"]["versions"][0]
    schema = found["schema"]["openAPIV3Schema"]
    text = f"# {title}\n\n{cell(schema.get('description', ''))} API version `carbonfleet.dev/{found['name']}`.\n"
    for part in ("spec", "status"):
        if part in schema["properties"]:
            text += "".join(_sections(schema["properties"][part], part, {}))
    return text


def fields_of_schema(name: str, title: str, path: str) -> str:
    """The fields of a file that people write."""
    schema = json.loads((ROOT / "crds" / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    text = f"# {title}\n\n`{path}` in the fleet repository. Editors check it by `crds/schemas/{name}.json`.\n"
    return text + "".join(_sections(schema, "", schema.get("$defs", {})))


def _sections(schema: dict[str, Any], path: str, named: dict[str, Any]) -> Iterator[str]:
    """A table of an object's fields, then one of each object in it, outer ones first."""
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    inner = []
    rows = []
    for name, raw in properties.items():
        field = _resolved(raw, named)
        item = _resolved(field.get("items") or field.get("additionalProperties") or {}, named)
        where = f"{path}.{name}" if path else name
        if field.get("properties"):
            inner.append((field, where))
        elif item.get("properties"):
            inner.append((item, f"{where}{'[]' if 'items' in field else '.NAME'}"))
        needed = " **Needed.**" if name in required else ""
        described = raw.get("description") or field.get("description", "")
        default = json.dumps(field["default"]) if field.get("default") not in (None, {}, []) else ""
        rows.append((code(name), cell(_type(field, item)), code(default), cell(described) + needed))
    if path:
        yield f"\n## `{path}`\n\n{cell(schema.get('description', ''))}\n\n"
    yield "\n" + table(("field", "type", "default", "what"), rows)
    for each, where in inner:
        yield from _sections(each, where, named)


def _resolved(schema: Any, named: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """A schema without its references and without the null beside it."""
    if not isinstance(schema, dict):
        return {}
    others = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if len(others) == 1:
        schema = {**schema, **others[0]}
    if "$ref" in schema:
        found = named[schema["$ref"].rpartition("/")[2]]
        return {**_resolved(found, named), **{key: schema[key] for key in ("default",) if key in schema}}
    return schema


def _type(field: dict[str, Any], item: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "enum" in field:
        return " or ".join(str(each) for each in field["enum"])
    kind = str(field.get("type") or ("integer or string" if field.get("x-kubernetes-int-or-string") else "any"))
    if kind == "array":
        kind = f"list of {'objects' if item.get('properties') else item.get('type', 'any')}"
    bounds = [
        f"{word} {field[key]:g}"
        for key, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if isinstance(field.get(key), int | float) and not isinstance(field.get(key), bool)
    ]
    if "maxLength" in field:
        bounds.append(f"at most {field['maxLength']} characters")
    if "maxItems" in field:
        bounds.append(f"at most {field['maxItems']}")
    return ", ".join([kind, *bounds])
