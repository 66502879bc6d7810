/* SPDX-License-Identifier: Apache-2.0 */
/* --help, from the table. */
#include "cli.h"

#include <string.h>

#define COLUMN 30 /* where the sentences begin */

static void print_option(const struct option *option)
{
	int width = option->letter ? printf("  -%c, --%s", option->letter, option->name)
				   : printf("      --%s", option->name);

	if (option->arg)
		width += printf(" %s", option->arg);
	if (width + 1 >= COLUMN)
		printf("\n%*s", COLUMN, "");
	else
		printf("%*s", COLUMN - width, "");
	printf("%s\n", option->help);
}

static void print_group(const struct option_group *group)
{
	printf("\n%s:\n", group->title);
	for (const struct option *option = group->options; option->name; option++)
		print_option(option);
}

void help_verb(const struct verb *verb)
{
	printf("Usage: kiln %s%s%s\n\n%s.\n", verb->name, verb->synopsis[0] ? " " : "",
	       verb->synopsis, verb->summary);
	if (verb->alias)
		printf("Also written kiln %s.\n", verb->alias);
	for (const struct option_group *const *group = verb->groups; *group; group++)
		print_group(*group);
	print_group(&common_options);
	printf("\nMore is in kiln-%s(1).\n", verb->name);
}

void help_all(void)
{
	printf("Usage: kiln COMMAND [OPTIONS] [ARGUMENT...]\n\n"
	       "Linux virtual machines, by one command.\n\nCommands:\n");
	for (const struct verb *verb = verbs; verb->name; verb++)
		printf("  %-12s %s\n", verb->name, verb->summary);
	printf("\n\"kiln COMMAND --help\" tells more of each. A first try:\n"
	       "  kiln run --rootfs DIRECTORY -- uname -a\n");
}
