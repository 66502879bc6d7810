/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of the configuration as a part of kiln-config(5), in scdoc's format. */
#include "publish.h"

#include "buf.h"
#include "check.h"
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>

/* Tables that several keys share (those of sources) are printed once. */
struct printed {
	const struct kiln__key *keys;
	char path[KILN__MAX_PATH];
};

struct page {
	struct kiln__buf text;
	struct printed printed[64];
	size_t count;
};

static const char *number(const struct kiln__key *key, int64_t value, char *out, size_t size)
{
	if (key->type == KILN__TYPE_SIZE)
		return kiln__format_size(out, size, value);
	if (key->type == KILN__TYPE_DURATION)
		return kiln__format_duration(out, size, value);
	snprintf(out, size, "%lld", (long long)value);
	return out;
}

static void add_range(struct kiln__buf *text, const char *what, const struct kiln__key *key)
{
	char low[32], high[32];

	number(key, key->min, low, sizeof(low));
	number(key, key->max, high, sizeof(high));
	if (key->min > 0)
		kiln__buf_addf(text, "%s, %s to %s", what, low, high);
	else
		kiln__buf_addf(text, "%s, up to %s", what, high);
}

static void add_choices(struct kiln__buf *text, const struct kiln__key *key)
{
	if (!key->choices[1]) {
		kiln__buf_addf(text, "only _%s_", key->choices[0]);
		return;
	}
	for (size_t i = 0; key->choices[i]; i++)
		kiln__buf_addf(text, "%s_%s_",
			       i == 0                ? ""
			       : key->choices[i + 1] ? ", "
						     : " or ",
			       key->choices[i]);
}

static void add_type(struct kiln__buf *text, const struct kiln__key *key)
{
	switch (key->type) {
	case KILN__TYPE_OBJECT:
		kiln__buf_adds(text, key->shorthand == KILN__SHORT_PATH
					     ? "object, or a text: its _path_"
				     : key->shorthand == KILN__SHORT_PORT
					     ? "object, or a text: "
					       "[[IP:]HOST\\_PORT:]PORT[/PROTOCOL]"
					     : "object");
		break;
	case KILN__TYPE_LIST:
		kiln__buf_addf(text, "list of up to %lld", (long long)key->max);
		break;
	case KILN__TYPE_MAP:
		kiln__buf_addf(text, "object of up to %lld texts, or a list of NAME=VALUE",
			       (long long)key->max);
		break;
	case KILN__TYPE_BOOL:
		kiln__buf_adds(text, "_true_ or _false_");
		break;
	case KILN__TYPE_INTEGER:
	case KILN__TYPE_FD:
		add_range(text, "number", key);
		break;
	case KILN__TYPE_SIZE:
		add_range(text, "size", key);
		break;
	case KILN__TYPE_DURATION:
		add_range(text, "duration", key);
		break;
	case KILN__TYPE_CHOICE:
	case KILN__TYPE_ENUM:
		add_choices(text, key);
		break;
	case KILN__TYPE_IP:
		kiln__buf_adds(text, "IP address");
		break;
	case KILN__TYPE_MAC:
		kiln__buf_adds(text, "MAC address");
		break;
	default:
		kiln__buf_addf(text, "text of up to %lld bytes", (long long)key->max);
	}
}

/* One empty line, whoever ends a paragraph first. */
static void end_paragraph(struct kiln__buf *text)
{
	while (text->len > 0 && text->data[text->len - 1] == '\n')
		text->len--;
	kiln__buf_adds(text, "\n\n");
}

static void add_keys(struct page *page, const struct kiln__key *keys, const char *path);

/* The keys below @key, or where they have been told of already. */
static void add_below(struct page *page, const struct kiln__key *key, const char *path)
{
	struct printed *printed = page->printed;

	for (; printed < page->printed + page->count; printed++)
		if (printed->keys == key->keys) {
			kiln__buf_addf(&page->text, " Its keys are those of *%s*.", printed->path);
			return;
		}
	if (page->count == sizeof(page->printed) / sizeof(page->printed[0]))
		abort(); /* a tool of the build's: make the table longer */
	printed->keys = key->keys;
	snprintf(printed->path, sizeof(printed->path), "%s", path);
	page->count++;
	end_paragraph(&page->text);
	add_keys(page, key->keys, path);
}

static void add_key(struct page *page, const struct kiln__key *key, const char *path)
{
	char element[KILN__MAX_PATH];

	kiln__buf_addf(&page->text, "*%s*: ", path);
	add_type(&page->text, key);
	kiln__buf_addf(&page->text, "\n\t%s", key->doc);
	if (key->def)
		kiln__buf_addf(&page->text, " Default: %s.", key->def);
	else if (key->def_doc)
		kiln__buf_addf(&page->text, " Default: %s.", key->def_doc);
	if (key->required)
		kiln__buf_adds(&page->text, " Required.");
	if (key->type == KILN__TYPE_OBJECT)
		add_below(page, key, path);
	end_paragraph(&page->text);
	if (key->type == KILN__TYPE_LIST && key->element->type == KILN__TYPE_OBJECT) {
		snprintf(element, sizeof(element), "%s[]", path);
		add_key(page, key->element, element);
	}
}

static void add_keys(struct page *page, const struct kiln__key *keys, const char *path)
{
	char here[KILN__MAX_PATH];

	for (const struct kiln__key *key = keys; key->name; key++) {
		if (kiln__schema_is_absent(key))
			continue;
		snprintf(here, sizeof(here), "%s%s%s", path, *path ? "." : "", key->name);
		add_key(page, key, here);
	}
}

char *kiln__publish_man(void)
{
	struct page page = {.text = KILN__BUF_INIT};

	kiln__buf_adds(&page.text, "; Made from the table of keys by: publish-schema man\n\n");
	add_keys(&page, kiln__schema.keys, "");
	page.text.len--; /* the last empty line */
	return kiln__buf_steal(&page.text);
}
