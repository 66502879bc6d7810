/* SPDX-License-Identifier: Apache-2.0 */
#include "registries.h"

#include "buf.h"
#include "err.h"
#include "join.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE  (1u << 20)
#define MAX_ITEMS 256 /* registries, mirrors of one, names to search */

enum pull_from { PULL_ALL, PULL_DIGEST, PULL_TAG };

struct mirror {
	char *location;
	bool insecure;
	enum pull_from from;
};

struct rule {
	char *prefix;
	char *location;
	bool insecure;
	bool says_insecure;
	bool blocked;
	bool digest_only; /* its mirrors */
	struct mirror *mirrors;
	size_t mirror_count;
};

struct kiln__registries {
	char **search; /* NULL-terminated */
	size_t search_count;
	struct rule *rules;
	size_t rule_count;
};

void kiln__registries_free(struct kiln__registries *registries)
{
	if (!registries)
		return;
	for (size_t i = 0; i < registries->search_count; i++)
		free(registries->search[i]);
	free(registries->search);
	for (size_t i = 0; i < registries->rule_count; i++) {
		struct rule *rule = &registries->rules[i];

		for (size_t k = 0; k < rule->mirror_count; k++)
			free(rule->mirrors[k].location);
		free(rule->mirrors);
		free(rule->prefix);
		free(rule->location);
	}
	free(registries->rules);
	free(registries);
}

/* --- the parts of TOML that such files have -------------------------------------------------- */

struct parser {
	struct kiln__registries *registries;
	const char *name;
	const char *at;
	unsigned line;
	bool in_mirror;
	kiln_error *err;
};

static int wrong(struct parser *parser, const char *what)
{
	kiln__fail(parser->err, KILN_EFORMAT, "%s, line %u: %s", parser->name, parser->line, what);
	kiln__hint(parser->err, "kiln-registries.conf(5) tells what may stand there");
	return KILN_EFORMAT;
}

/* Blanks, and with @lines also the ends of lines and comments. */
static void skip(struct parser *parser, bool lines)
{
	for (;; parser->at++) {
		if (lines && *parser->at == '#')
			parser->at += strcspn(parser->at, "\n");
		if (*parser->at == '\n' && lines)
			parser->line++;
		else if (*parser->at != ' ' && *parser->at != '\t' &&
			 !(*parser->at == '\r' && parser->at[1] == '\n'))
			return;
	}
}

/* After a value or a heading: nothing more on this line. */
static int end_line(struct parser *parser)
{
	skip(parser, false);
	if (*parser->at == '#')
		parser->at += strcspn(parser->at, "\n");
	if (*parser->at && *parser->at != '\n')
		return wrong(parser, "something follows where the line should end");
	return 0;
}

/* "text" without escapes but \" and \\, or 'text'. */
static int parse_string(struct parser *parser, char **ret)
{
	kiln__autobuf text = KILN__BUF_INIT;
	char quote = *parser->at;

	if (quote != '"' && quote != '\'')
		return wrong(parser, "a text in quotes is expected");
	for (parser->at++; *parser->at != quote; parser->at++) {
		if (!*parser->at || *parser->at == '\n')
			return wrong(parser, "a text does not end on its line");
		if ((unsigned char)*parser->at < 0x20)
			return wrong(parser, "a text has a control character");
		if (quote == '"' && *parser->at == '\\') {
			parser->at++;
			if (*parser->at != '"' && *parser->at != '\\')
				return wrong(parser, "of escapes, only \\\" and \\\\ are known");
		}
		kiln__buf_addc(&text, *parser->at);
	}
	parser->at++;
	*ret = text.data || text.failed ? kiln__buf_steal(&text) : strdup("");
	return *ret ? 0 : kiln__fail_nomem(parser->err);
}

static int parse_bool(struct parser *parser, bool *ret)
{
	if (strncmp(parser->at, "true", 4) == 0) {
		parser->at += 4;
		*ret = true;
	} else if (strncmp(parser->at, "false", 5) == 0) {
		parser->at += 5;
		*ret = false;
	} else {
		return wrong(parser, "true or false is expected");
	}
	return 0;
}

static int grow(struct parser *parser, void *array, size_t count, size_t size)
{
	void *old = *(void **)array;
	void *grown;

	if (count >= MAX_ITEMS)
		return wrong(parser, "there are too many of these");
	grown = realloc(old, (count + 2) * size);
	if (!grown)
		return kiln__fail_nomem(parser->err);
	memset((char *)grown + count * size, 0, 2 * size);
	*(void **)array = grown;
	return 0;
}

static int parse_search(struct parser *parser)
{
	struct kiln__registries *registries = parser->registries;
	int r = 0;

	if (*parser->at++ != '[')
		return wrong(parser, "a list is expected: [\"docker.io\"]");
	for (skip(parser, true); r == 0 && *parser->at != ']'; skip(parser, true)) {
		char *domain = NULL;

		r = grow(parser, &registries->search, registries->search_count,
			 sizeof(*registries->search));
		if (r == 0)
			r = parse_string(parser, &domain);
		if (r == 0)
			registries->search[registries->search_count++] = domain;
		if (r == 0 && !kiln__reference_is_domain(domain, strlen(domain)))
			r = wrong(parser, "a registry is HOST or HOST:PORT");
		skip(parser, true);
		if (r == 0 && *parser->at == ',')
			parser->at++;
		else if (r == 0 && *parser->at != ']')
			r = wrong(parser, "a comma or ] is expected");
	}
	if (r == 0)
		parser->at++;
	return r;
}

/* --- keys ------------------------------------------------------------------------------------ */

static bool is(const char *key, size_t len, const char *name)
{
	return strlen(name) == len && memcmp(key, name, len) == 0;
}

/* HOST[:PORT][/PATH]; a prefix may also begin with "*.". */
static int parse_location(struct parser *parser, char **ret, bool wild)
{
	const char *text;
	char *found = NULL;
	int r = parse_string(parser, &found);

	if (r < 0)
		return r;
	free(*ret);
	*ret = found;
	text = wild && strncmp(found, "*.", 2) == 0 ? found + 2 : found;
	if (!kiln__reference_is_domain(text, strcspn(text, "/")) ||
	    strlen(found) > KILN__REFERENCE_NAME_MAX || text[strlen(text) - 1] == '/')
		return wrong(parser, "a location is HOST[:PORT][/PATH]");
	return 0;
}

static int parse_pull_from(struct parser *parser, enum pull_from *ret)
{
	static const char *const words[] = {"all", "digest-only", "tag-only"};
	kiln__autofree char *text = NULL;
	int r = parse_string(parser, &text);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i], text) == 0) {
			*ret = (enum pull_from)i;
			return 0;
		}
	return wrong(parser, "pull-from-mirror is \"all\", \"digest-only\" or \"tag-only\"");
}

static int unknown(struct parser *parser, const char *key, size_t len, const char *where)
{
	kiln__fail(parser->err, KILN_ENOTSUP, "%s, line %u: %s the key \"%.*s\" is not supported",
		   parser->name, parser->line, where, (int)(len < 60 ? len : 60), key);
	kiln__hint(parser->err, "kiln-registries.conf(5) tells what may stand there");
	return KILN_ENOTSUP;
}

static int parse_value(struct parser *parser, const char *key, size_t len)
{
	struct kiln__registries *registries = parser->registries;
	struct rule *rule =
		registries->rule_count ? &registries->rules[registries->rule_count - 1] : NULL;
	struct mirror *mirror = parser->in_mirror ? &rule->mirrors[rule->mirror_count - 1] : NULL;

	if (mirror) {
		if (is(key, len, "location"))
			return parse_location(parser, &mirror->location, false);
		if (is(key, len, "insecure"))
			return parse_bool(parser, &mirror->insecure);
		if (is(key, len, "pull-from-mirror"))
			return parse_pull_from(parser, &mirror->from);
		return unknown(parser, key, len, "of a mirror");
	}
	if (!rule && is(key, len, "unqualified-search-registries"))
		return parse_search(parser);
	if (!rule)
		return unknown(parser, key, len, "at the top,");
	if (is(key, len, "prefix"))
		return parse_location(parser, &rule->prefix, true);
	if (is(key, len, "location"))
		return parse_location(parser, &rule->location, false);
	if (is(key, len, "blocked"))
		return parse_bool(parser, &rule->blocked);
	if (is(key, len, "mirror-by-digest-only"))
		return parse_bool(parser, &rule->digest_only);
	if (!is(key, len, "insecure"))
		return unknown(parser, key, len, "of a registry");
	rule->says_insecure = true;
	return parse_bool(parser, &rule->insecure);
}

static int parse_key(struct parser *parser)
{
	const char *key = parser->at;
	size_t len =
		strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
	int r;

	if (!len)
		return wrong(parser, "a key is expected");
	parser->at += len;
	skip(parser, false);
	if (*parser->at != '=')
		return wrong(parser, "\"=\" is expected behind the key");
	parser->at++;
	skip(parser, false);
	r = parse_value(parser, key, len);
	return r < 0 ? r : end_line(parser);
}

static int finish_rule(struct parser *parser)
{
	struct kiln__registries *registries = parser->registries;
	struct rule *rule;

	if (!registries->rule_count)
		return 0;
	rule = &registries->rules[registries->rule_count - 1];
	for (size_t i = 0; i < rule->mirror_count; i++)
		if (!rule->mirrors[i].location)
			return wrong(parser, "the mirror above has no location");
	if (!rule->prefix && !rule->location)
		return wrong(parser, "the registry above has neither prefix nor location");
	if (!rule->location && strncmp(rule->prefix, "*.", 2) != 0)
		rule->location = strdup(rule->prefix);
	if (!rule->prefix)
		rule->prefix = strdup(rule->location);
	return rule->prefix ? 0 : kiln__fail_nomem(parser->err);
}

static int parse_heading(struct parser *parser)
{
	static const char registry[] = "[[registry]]";
	static const char mirror[] = "[[registry.mirror]]";
	struct kiln__registries *registries = parser->registries;
	struct rule *rule;
	int r;

	if (strncmp(parser->at, mirror, strlen(mirror)) == 0) {
		if (!registries->rule_count)
			return wrong(parser, "a mirror stands below its [[registry]]");
		rule = &registries->rules[registries->rule_count - 1];
		r = grow(parser, &rule->mirrors, rule->mirror_count, sizeof(*rule->mirrors));
		if (r < 0)
			return r;
		rule->mirror_count++;
		parser->in_mirror = true;
		parser->at += strlen(mirror);
		return end_line(parser);
	}
	if (strncmp(parser->at, registry, strlen(registry)) != 0) {
		size_t len = strcspn(parser->at, "\r\n");

		return unknown(parser, parser->at, len, "as a table");
	}
	r = finish_rule(parser);
	if (r == 0)
		r = grow(parser, &registries->rules, registries->rule_count,
			 sizeof(*registries->rules));
	if (r < 0)
		return r;
	registries->rule_count++;
	parser->in_mirror = false;
	parser->at += strlen(registry);
	return end_line(parser);
}

int kiln__registries_parse(struct kiln__registries **ret, const char *text, const char *name,
			   kiln_error *err)
{
	struct parser parser = {.name = name, .at = text, .line = 1, .err = err};
	int r = 0;

	parser.registries = calloc(1, sizeof(*parser.registries));
	if (!parser.registries)
		return kiln__fail_nomem(err);
	for (skip(&parser, true); r == 0 && *parser.at; skip(&parser, true))
		r = *parser.at == '[' ? parse_heading(&parser) : parse_key(&parser);
	if (r == 0)
		r = finish_rule(&parser);
	if (r < 0) {
		kiln__registries_free(parser.registries);
		return r;
	}
	*ret = parser.registries;
	return 0;
}

/* --- the file -------------------------------------------------------------------------------- */

/* malloc'ed, or NULL: the one in the user's configuration directory. */
static char *own_file(void)
{
	kiln__autofree char *config = kiln__os_env("XDG_CONFIG_HOME");
	kiln__autofree char *home = kiln__os_env("HOME");

	if (config && config[0] == '/')
		return kiln__join(config, "/kiln/registries.conf", NULL);
	return home && home[0] == '/' ? kiln__join(home, "/.config/kiln/registries.conf", NULL)
				      : NULL;
}

int kiln__registries_load(struct kiln__registries **ret, kiln_error *err)
{
	kiln__autofree char *given = kiln__os_env("KILN_REGISTRIES");
	kiln__autofree char *own = own_file();
	const char *const paths[] = {given && *given ? given : own,
				     given && *given ? NULL : "/etc/kiln/registries.conf"};
	kiln__autofree char *text = NULL;
	size_t len;

	for (size_t i = 0; i < 2; i++) {
		struct kiln__os_stat st;
		int r;

		/* That there is none is usual, and no message is made of it. */
		if (!paths[i] ||
		    (paths[i] != given && kiln__os_stat(paths[i], &st, NULL) == KILN_ENOENT))
			continue;
		r = kiln__os_read_file(paths[i], MAX_FILE, &text, &len, err);
		if (r == 0 && strlen(text) != len)
			return kiln__fail(err, KILN_EFORMAT, "%s has NUL bytes", paths[i]);
		return r < 0 ? r : kiln__registries_parse(ret, text, paths[i], err);
	}
	return kiln__registries_parse(ret, "", "", err);
}

/* --- looking up ------------------------------------------------------------------------------ */

const char *const *kiln__registries_search(const struct kiln__registries *registries)
{
	static const char *const only_docker[] = {KILN__REFERENCE_DOCKER, NULL};

	return registries->search_count ? (const char *const *)registries->search : only_docker;
}

/* How many bytes of @name the prefix stands for; 0: it does not fit. */
static size_t fits(const char *prefix, const char *name)
{
	size_t len = strlen(prefix);

	if (strncmp(prefix, "*.", 2) == 0) {
		size_t host = strcspn(name, ":/");

		/* "*.example.com" fits any host below it, whatever follows. */
		return host > len - 1 && strncmp(name + host - (len - 1), prefix + 1, len - 1) == 0
			       ? host
			       : 0;
	}
	if (strncmp(name, prefix, len) != 0)
		return 0;
	return name[len] == '\0' || name[len] == '/' || name[len] == ':' ? len : 0;
}

static int set_place(struct kiln__registry_place *ret, const char *location, const char *rest,
		     kiln_error *err)
{
	kiln__autofree char *name = kiln__strf("%s%s", location, rest);
	const char *slash;

	if (!name)
		return kiln__fail_nomem(err);
	slash = strchr(name, '/');
	if (!slash || strlen(name) > KILN__REFERENCE_NAME_MAX)
		return kiln__fail(err, KILN_EINVAL, "\"%.200s\" is no place for an image", name);
	memcpy(ret->host, name, (size_t)(slash - name));
	ret->host[slash - name] = '\0';
	strcpy(ret->path, slash + 1);
	return 0;
}

static bool is_wanted(const struct rule *rule, const struct mirror *mirror, bool by_digest)
{
	return by_digest ? mirror->from != PULL_TAG
			 : mirror->from != PULL_DIGEST && !rule->digest_only;
}

int kiln__registries_places(const struct kiln__registries *registries,
			    const struct kiln__reference *reference,
			    struct kiln__registry_place *ret, size_t max, kiln_error *err)
{
	kiln__autofree char *name = kiln__strf("%s/%s", reference->domain, reference->path);
	const struct rule *rule = NULL;
	size_t best = 0;
	size_t count = 0;
	int r = 0;

	if (!name)
		return kiln__fail_nomem(err);
	for (size_t i = 0; i < registries->rule_count; i++) {
		size_t len = fits(registries->rules[i].prefix, name);

		if (len > best) {
			best = len;
			rule = &registries->rules[i];
		}
	}
	if (rule && rule->blocked) {
		kiln__fail(err, KILN_EACCES, "the registry of %s is blocked", name);
		kiln__hint(err, "by its [[registry]] in registries.conf");
		return KILN_EACCES;
	}
	for (size_t i = 0; r == 0 && rule && i < rule->mirror_count && count + 1 < max; i++) {
		const struct mirror *mirror = &rule->mirrors[i];

		if (!is_wanted(rule, mirror, reference->digest[0] != '\0'))
			continue;
		r = set_place(&ret[count], mirror->location, name + best, err);
		ret[count++].insecure = mirror->insecure;
	}
	if (r == 0 && rule && rule->location)
		r = set_place(&ret[count], rule->location, name + best, err);
	else if (r == 0)
		r = set_place(&ret[count], name, "", err);
	if (r < 0)
		return r;
	ret[count].insecure = rule && rule->says_insecure
				      ? rule->insecure
				      : kiln__reference_is_loopback(ret[count].host);
	return (int)count + 1;
}
