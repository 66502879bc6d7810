/* SPDX-License-Identifier: Apache-2.0 */
/* A circular doubly linked list whose links are embedded in its members. */
#ifndef KILN_BASE_LIST_H
#define KILN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* A list's head, or a member's link. A link that is in no list points at itself. */
struct kiln__list {
	struct kiln__list *next;
	struct kiln__list *prev;
};

static inline void kiln__list_init(struct kiln__list *list)
{
	list->next = list;
	list->prev = list;
}

/* Of a head: no members. Of a link: in no list. */
static inline bool kiln__list_empty(const struct kiln__list *list)
{
	return list->next == list;
}

static inline void kiln__list_append(struct kiln__list *head, struct kiln__list *link)
{
	link->next = head;
	link->prev = head->prev;
	head->prev->next = link;
	head->prev = link;
}

/* Takes a link out of whatever list it is in. */
static inline void kiln__list_remove(struct kiln__list *link)
{
	link->next->prev = link->prev;
	link->prev->next = link->next;
	kiln__list_init(link);
}

/* Takes all members of @from over to the end of @head. */
static inline void kiln__list_move(struct kiln__list *head, struct kiln__list *from)
{
	if (kiln__list_empty(from))
		return;
	from->next->prev = head->prev;
	from->prev->next = head;
	head->prev->next = from->next;
	head->prev = from->prev;
	kiln__list_init(from);
}

/* The member of @type whose field @member is @link. */
#define kiln__list_entry(link, type, member)                                                       \
	((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Walks the links of a list; the body must not remove any but by leaving the loop. */
#define kiln__list_foreach(link, head)                                                             \
	for (struct kiln__list *link = (head)->next; link != (head); link = link->next)

#endif
