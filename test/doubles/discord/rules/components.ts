/**
 * What Discord accepts as message components: classic rows (5 buttons or one select each) and, with
 * the IS_COMPONENTS_V2 flag, the layout kinds.
 */
import { ButtonStyle, ComponentType as Kind } from "discord-api-types/v10";
import { ApiError } from "../rest/errors.ts";
import { messageText } from "../messages.ts";
import { fieldsOf, isFields, lengthOf, listOf } from "./form.ts";
import type { Fields, Form } from "./form.ts";

const rowsMax = 5;
const componentsMax = 40;
const displayTextMax = 4_000;
/** discord-api-docs#8554: UTF-8 bytes plus 12 for each text display; above it, HTTP 500. */
const displayBytesMax = 10_170;

const selects: readonly unknown[] = [
  Kind.StringSelect,
  Kind.UserSelect,
  Kind.RoleSelect,
  Kind.MentionableSelect,
  Kind.ChannelSelect,
];
const layouts: readonly unknown[] = [
  Kind.Section,
  Kind.TextDisplay,
  Kind.MediaGallery,
  Kind.File,
  Kind.Separator,
  Kind.Container,
];

const styles: ReadonlySet<unknown> = new Set(Object.values(ButtonStyle));

type Path = readonly (string | number)[];

export function checkComponents(form: Form, value: unknown, options: { v2: boolean }): void {
  form.list(["components"], value, { max: options.v2 ? componentsMax : rowsMax });
  const seen = new Set<string>();
  let count = 0;
  const visit = (component: Fields, path: Path): void => {
    count += 1;
    const type = component["type"];
    if (type === Kind.ActionRow) checkRow(form, component, path);
    else if (type === Kind.Button) checkButton(form, component, path);
    else if (selects.includes(type)) checkSelect(form, component, path);
    else if (!options.v2 || !layouts.includes(type)) unknownKind(form, path);
    noteCustomId(form, component, { path, seen });
    for (const [i, inner] of listOf(component["components"]).entries()) {
      visit(inner, [...path, "components", i]);
    }
    if (isFields(component["accessory"])) visit(component["accessory"], [...path, "accessory"]);
  };
  for (const [i, component] of listOf(value).entries()) {
    const path = ["components", i];
    if (!options.v2 && component["type"] !== Kind.ActionRow) unknownKind(form, path);
    else visit(component, path);
  }
  if (count > componentsMax && options.v2) {
    const message = `Must be ${componentsMax} or fewer in length.`;
    form.fail(["components"], "BASE_TYPE_MAX_LENGTH", message);
  }
}

/** V2 text: 4,000 characters in all is refused politely, too many bytes is a server error. */
export function checkDisplayText(components: unknown): void {
  const list = listOf(components);
  const displays = countDisplays(list);
  const text = messageText("", list).replaceAll("\n", "");
  if (Buffer.byteLength(text) + 12 * displays > displayBytesMax) {
    throw new ApiError(500, 0, { message: "500: Internal Server Error" });
  }
  if (lengthOf(text) > displayTextMax) {
    throw new ApiError(400, 50035, {
      message: "Invalid Form Body",
      errors: {
        components: {
          _errors: [
            {
              code: "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED",
              message: `Displayable text exceeds ${displayTextMax} characters`,
            },
          ],
        },
      },
    });
  }
}

function countDisplays(components: readonly Fields[]): number {
  return components.reduce(
    (sum, component) =>
      sum +
      (component["type"] === Kind.TextDisplay ? 1 : 0) +
      countDisplays(listOf(component["components"])),
    0,
  );
}

function unknownKind(form: Form, path: Path): void {
  form.fail([...path, "type"], "UNION_TYPE_CHOICES", 'Value of field "type" is not allowed here.');
}

function noteCustomId(
  form: Form,
  component: Fields,
  where: { path: Path; seen: Set<string> },
): void {
  const id = component["custom_id"];
  if (typeof id !== "string") return;
  if (where.seen.has(id)) {
    const message = "Component custom id cannot be duplicated";
    form.fail([...where.path, "custom_id"], "COMPONENT_CUSTOM_ID_DUPLICATED", message);
  }
  where.seen.add(id);
}

function checkRow(form: Form, row: Fields, path: Path): void {
  const inner = listOf(row["components"]);
  const hasSelect = inner.some((component) => selects.includes(component["type"]));
  form.list([...path, "components"], row["components"] ?? [], { min: 1, max: hasSelect ? 1 : 5 });
  for (const [i, component] of inner.entries()) {
    if (component["type"] !== Kind.Button && !selects.includes(component["type"])) {
      unknownKind(form, [...path, "components", i]);
    }
  }
}

function checkButton(form: Form, button: Fields, path: Path): void {
  const style = button["style"] as ButtonStyle | undefined;
  form.text([...path, "label"], button["label"], { max: 80 });
  if (style === undefined || !styles.has(style)) {
    form.fail([...path, "style"], "BASE_TYPE_CHOICES", "Value must be one of (1, 2, 3, 4, 5, 6).");
  } else if (style === ButtonStyle.Link) {
    form.text([...path, "url"], button["url"], { max: 512, required: true });
    if (button["custom_id"] !== undefined) {
      const message = "A custom id and url cannot both be specified";
      form.fail(
        [...path, "custom_id"],
        "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE",
        message,
      );
    }
  } else if (style !== ButtonStyle.Premium) {
    form.text([...path, "custom_id"], button["custom_id"], { min: 1, max: 100, required: true });
    if (!button["label"] && !isFields(button["emoji"])) {
      form.fail(path, "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A label or emoji is required");
    }
  }
}

function checkSelect(form: Form, select: Fields, path: Path): void {
  form.text([...path, "custom_id"], select["custom_id"], { min: 1, max: 100, required: true });
  form.text([...path, "placeholder"], select["placeholder"], { max: 150 });
  if (select["type"] !== Kind.StringSelect) return;
  form.list([...path, "options"], select["options"] ?? [], { min: 1, max: 25 });
  const values = new Set<unknown>();
  for (const [i, option] of listOf(select["options"]).entries()) {
    const at = [...path, "options", i];
    form.text([...at, "label"], option["label"], { min: 1, max: 100, required: true });
    form.text([...at, "value"], option["value"], { min: 1, max: 100, required: true });
    form.text([...at, "description"], fieldsOf(option)["description"], { max: 100 });
    if (values.has(option["value"])) {
      const message = "The specified option value is already used";
      form.fail([...at, "value"], "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", message);
    }
    values.add(option["value"]);
  }
}
