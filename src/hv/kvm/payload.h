/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the preflight and its guest code (payload_*.S, which includes this too)
 * agree on. Guest-physical layout of the x86-64 payload, one 2 MiB page of which the
 * first MiB is memory and the rest is not:
 */
#ifndef KILN_HV_KVM_PAYLOAD_H
#define KILN_HV_KVM_PAYLOAD_H

#define PAYLOAD_MEMORY_SIZE 0x100000
#define PAYLOAD_RESULTS     0x1000 /* 64-bit words that the guest writes */
#define PAYLOAD_GDT         0x2000
#define PAYLOAD_IDT         0x3000
#define PAYLOAD_TSS         0x4000
#define PAYLOAD_PML4        0x5000
#define PAYLOAD_PDPT        0x6000
#define PAYLOAD_PD          0x7000
#define PAYLOAD_STACK       0xa000  /* its top */
#define PAYLOAD_SCRATCH     0x10000 /* XSAVE area and operands, 64 KiB */
#define PAYLOAD_CODE        0x20000
#define PAYLOAD_DEVICE      0x180000   /* no memory there: an access is an MMIO exit */
#define PAYLOAD_UNMAPPED    0x40000000 /* virtual: no page there either */

/* Code runs where a kernel does, in the topmost 2 GiB; memory is also mapped one to one. */
#define PAYLOAD_HIGH 0xffffffff80000000

/* Segment selectors. */
#define PAYLOAD_CODE64 0x08
#define PAYLOAD_DATA   0x10
#define PAYLOAD_CODE32 0x18
#define PAYLOAD_TR     0x20

/* Result words from here on tell of an exception: vector, error code, address. */
#define PAYLOAD_EXCEPTION 32

/* Ports: the guest reports the end of a step, or an exception that it did not expect. */
#define PAYLOAD_PORT_DONE      0x5f0
#define PAYLOAD_PORT_EXCEPTION 0x5f1
#define PAYLOAD_PORT_ECHO      0x5f2

/* AArch64: offsets from PAYLOAD_DEVICE. */
#define PAYLOAD_ARM_DONE      0x100
#define PAYLOAD_ARM_EXCEPTION 0x108
#define PAYLOAD_ARM_ECHO      0x110

#define PAYLOAD_MAGIC          0x6b696c6e /* what steps store to say "I was here" */
#define PAYLOAD_PATTERN        0x0123456789abcdef
#define PAYLOAD_PATTERN2       0x0fedcba987654321
#define PAYLOAD_KERNEL_ADDRESS 0xffffffff81234560 /* some address as kernels put into MSRs */

#endif
