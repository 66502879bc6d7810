/* SPDX-License-Identifier: Apache-2.0 */
#include "compressor.h"

#include <sqfs/error.h>
#include <stdlib.h>

struct wrapper {
	sqfs_compressor_t base;
	sqfs_compressor_t *inner;
};

static sqfs_compressor_t *inner_of(const sqfs_compressor_t *base)
{
	return ((const struct wrapper *)base)->inner;
}

static void destroy(sqfs_object_t *object)
{
	sqfs_destroy(inner_of((sqfs_compressor_t *)object));
	free(object);
}

static struct wrapper *wrap(sqfs_compressor_t *inner);

/* Each worker thread has a copy of its own. */
static sqfs_object_t *copy(const sqfs_object_t *object)
{
	sqfs_compressor_t *inner = sqfs_copy(inner_of((const sqfs_compressor_t *)object));
	struct wrapper *wrapper = inner ? wrap(inner) : NULL;

	if (inner && !wrapper)
		sqfs_destroy(inner);
	return (sqfs_object_t *)wrapper;
}

static void get_configuration(const sqfs_compressor_t *base, sqfs_compressor_config_t *config)
{
	inner_of(base)->get_configuration(inner_of(base), config);
}

static int write_options(sqfs_compressor_t *base, sqfs_file_t *file)
{
	return inner_of(base)->write_options(inner_of(base), file);
}

static int read_options(sqfs_compressor_t *base, sqfs_file_t *file)
{
	return inner_of(base)->read_options(inner_of(base), file);
}

/* 0 says that the block does not compress. */
static sqfs_s32 do_block(sqfs_compressor_t *base, const sqfs_u8 *in, sqfs_u32 size, sqfs_u8 *out,
			 sqfs_u32 out_size)
{
	sqfs_s32 made = inner_of(base)->do_block(inner_of(base), in, size, out, out_size);

	return made >= 0 && (sqfs_u32)made >= size ? 0 : made;
}

static struct wrapper *wrap(sqfs_compressor_t *inner)
{
	struct wrapper *wrapper = calloc(1, sizeof(*wrapper));

	if (wrapper)
		*wrapper = (struct wrapper){
			.base = {.base = {.destroy = destroy, .copy = copy},
				 .get_configuration = get_configuration,
				 .write_options = write_options,
				 .read_options = read_options,
				 .do_block = do_block},
			.inner = inner,
		};
	return wrapper;
}

sqfs_compressor_t *compressor_new(const sqfs_compressor_config_t *config, int *ret_error)
{
	sqfs_compressor_t *inner;
	struct wrapper *wrapper;

	*ret_error = sqfs_compressor_create(config, &inner);
	if (*ret_error)
		return NULL;
	wrapper = wrap(inner);
	if (!wrapper) {
		sqfs_destroy(inner);
		*ret_error = SQFS_ERROR_ALLOC;
		return NULL;
	}
	return &wrapper->base;
}
