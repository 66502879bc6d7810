/* SPDX-License-Identifier: Apache-2.0 */
/* Where the guests of guests_x86_64.S lie, and how they are spoken to; for C and assembler. */
#ifndef TESTS_HV_GUEST_LAYOUT_H
#define TESTS_HV_GUEST_LAYOUT_H

#define GUEST_MEMORY   0x10000 /* from 0 on */
#define GUEST_ENTRY    0x1000
#define GUEST_HANDLER  0x2000 /* the first of the handlers */
#define GUEST_STACK    0x8000
#define GUEST_HANDLERS 80

#define GUEST_HANDLER_SIZE 32

#define PORT_SAY   0x10
#define PORT_READY 0x11
#define PORT_ASK   0x12
#define PORT_BELL  0x13

#define LINE        4
#define VECTOR_LINE 0x41

#endif
