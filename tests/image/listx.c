/* SPDX-License-Identifier: Apache-2.0 */
/* listx PATH...: the extended attributes of each, a line for each: path, name, bytes in
 * hexadecimal. */
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char names[4096];
		ssize_t len = llistxattr(argv[i], names, sizeof(names));

		for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
			unsigned char value[4096];
			ssize_t size = lgetxattr(argv[i], name, value, sizeof(value));

			printf("%s %s ", argv[i], name);
			for (ssize_t k = 0; k < size; k++)
				printf("%02x", value[k]);
			putchar('\n');
		}
	}
	return 0;
}
