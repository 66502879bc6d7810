/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that means ill: a kernel of a few KiB that sets up every virtio device of kiln's own
 * machine and then breaks all rules, by the device's real registers and queues: chains that loop,
 * leave memory, lie across its holes or are of lengths that overflow; indices that jump; queues
 * that are moved, resized and reset while they run; random writes to configuration space, to BARs
 * and where those are, to the window of VIRTIO_PCI_CAP_PCI_CFG, to MSI-X tables and to ports.
 *
 * On the command line: seed=N rounds=N (0: for ever). Then it resets all devices, reads the first
 * sector of the first disk as a driver should, looks whether memory that it has named to nobody is
 * as it was, says so at the debug port and powers off.
 *
 * Entered in 64-bit mode by Linux's boot protocol (Documentation/arch/x86/boot.rst), one processor,
 * interrupts off. Of memory, what devices may write is the arena, from ARENA on; the pages below 1
 * MiB are left, the image has page tables of its own.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ECAM        0xe0000000ull
#define BAR_WINDOW  0xc0000000ull
#define SLOTS       32
#define SLOT_STRIDE 0x8000u
#define COM1        0x3f8
#define PM_SLEEP    0x600
#define PM_RESET    0x602
#define PVPANIC     0x505
#define SLEEP_S5    (1 << 5 | 5 << 2)

#define CANARY     0x1800000ull /* memory that no descriptor names */
#define CANARY_LEN 0x400000ull
#define ARENA      0x2000000ull
#define ARENA_LEN  0x1000000ull /* of it, where rings and requests lie */

/* The common configuration (virtio 1.2, 4.1.4.3), as kiln's BAR 0 has it; and BAR 1's doorbells. */
#define FEATURE_SELECT 0x00
#define FEATURE        0x04
#define DRIVER_SELECT  0x08
#define DRIVER_FEATURE 0x0c
#define CONFIG_VECTOR  0x10
#define NUM_QUEUES     0x12
#define STATUS         0x14
#define QUEUE_SELECT   0x16
#define QUEUE_SIZE     0x18
#define QUEUE_VECTOR   0x1a
#define QUEUE_ENABLE   0x1c
#define QUEUE_DESC     0x20
#define BELLS          0x100

#define F_NEXT     1
#define F_WRITE    2
#define F_INDIRECT 4

#define DEVICE_NET     1
#define DEVICE_BLK     2
#define DEVICE_BALLOON 5
#define DEVICE_VSOCK   19

#define MAX_QUEUES 8

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct ring {
	uint64_t at; /* descriptors, then the available, then the used ring */
	uint16_t size;
	uint16_t next; /* descriptor to write next */
};

struct device {
	volatile uint8_t *config;
	volatile uint8_t *registers;
	volatile uint8_t *bells;
	volatile uint8_t *table;
	uint16_t id;
	uint16_t queues;
	struct ring rings[MAX_QUEUES];
};

static struct device devices[SLOTS];
static unsigned device_count;
static uint64_t random_state;
static uint64_t ram_end; /* below the hole */
static uint64_t counts[16];
static const char *args;
static uint64_t room = ARENA + ARENA_LEN / 2;

/* --- the processor -------------------------------------------------------------------------- */

__attribute__((aligned(4096))) static uint64_t tables[6][512];
__attribute__((used, aligned(16))) static uint8_t stack[16384];

__asm__(".globl start\n"
	"start:	cli\n"
	"	lea stack + 16384(%rip), %rsp\n"
	"	mov %rsi, %rdi\n"
	"	call run\n");

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void out(uint16_t port, unsigned size, uint32_t value)
{
	if (size == 1)
		out8(port, (uint8_t)value);
	else if (size == 2)
		__asm__ volatile("outw %0, %1" : : "a"((uint16_t)value), "Nd"(port));
	else
		__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static void in(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
}

/* 4 GiB as they are, by 2 MiB: the loader's tables lie where devices are let. */
static void map_memory(void)
{
	tables[0][0] = (uint64_t)tables[1] | 3;
	for (unsigned i = 0; i < 4; i++)
		tables[1][i] = (uint64_t)tables[2 + i] | 3;
	for (uint64_t i = 0; i < 2048; i++)
		tables[2 + i / 512][i % 512] = i << 21 | 0x83;
	__asm__ volatile("mov %0, %%cr3" : : "r"(tables) : "memory");
}

/* --- words ---------------------------------------------------------------------------------- */

void *memset(void *at, int byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((volatile uint8_t *)at)[i] = (uint8_t)byte;
	return at;
}

static void say(const char *text)
{
	for (; *text; text++)
		out8(COM1, (uint8_t)*text);
}

static void say_number(uint64_t value)
{
	char digits[21];
	unsigned at = 20;

	digits[at] = 0;
	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	say(digits + at);
}

__attribute__((noreturn)) static void end(const char *text)
{
	say(text);
	say("\n");
	for (;;)
		out8(PM_SLEEP, SLEEP_S5);
}

static uint64_t argument(const char *name)
{
	for (const char *at = args; *at; at++) {
		const char *a = at;
		const char *b = name;
		uint64_t value = 0;

		while (*b && *a == *b)
			a++, b++;
		for (; !*b && *a >= '0' && *a <= '9'; a++)
			value = value * 10 + (uint64_t)(*a - '0');
		if (!*b)
			return value;
	}
	return 0;
}

/* --- chance --------------------------------------------------------------------------------- */

/* Marsaglia's xorshift, multiplied. */
static uint64_t any(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dull;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)((any() >> 32) % n);
}

static bool one_in(uint32_t n)
{
	return below(n) == 0;
}

static uint32_t any_len(void)
{
	static const uint32_t lens[] = {0,
					1,
					4,
					12,
					16,
					44,
					511,
					512,
					513,
					4095,
					4096,
					65535,
					65536,
					1u << 20,
					8u << 20,
					0x7fffffff,
					0x80000000u,
					0xffffff00u,
					0xfffffff0u,
					UINT32_MAX - 15,
					UINT32_MAX - 1,
					UINT32_MAX};

	return one_in(4) ? below(70000) : lens[below(sizeof(lens) / sizeof(lens[0]))];
}

/* An address that is likely to matter; never the image nor the canaries. */
static uint64_t any_address(void)
{
	switch (below(12)) {
	case 0:
		return ram_end - below(8192);
	case 1:
		return ram_end + below(8192);
	case 2:
		return 0xa0000 - below(4096); /* where low memory ends */
	case 3:
		return 0xa0000 + below(0x40000);
	case 4:
		return (one_in(2) ? BAR_WINDOW : ECAM) + below(0x100000);
	case 5:
		return 0x100000000ull - below(4096);
	case 6:
		return 0x100000000ull + ((uint64_t)below(1u << 20) << 12);
	case 7:
		return UINT64_MAX - below(65536);
	case 8:
		return any();
	case 9:
		return ARENA + (below(ARENA_LEN / 2) & ~15u); /* over the rings */
	default:
		return ARENA + ARENA_LEN / 2 + below(ARENA_LEN / 2);
	}
}

/* --- registers ------------------------------------------------------------------------------ */

static void write_to(volatile uint8_t *at, unsigned size, uint64_t value)
{
	if (size == 1)
		*at = (uint8_t)value;
	else if (size == 2)
		*(volatile uint16_t *)at = (uint16_t)value;
	else if (size == 4)
		*(volatile uint32_t *)at = (uint32_t)value;
	else
		*(volatile uint64_t *)at = value;
}

static uint16_t read16(volatile uint8_t *at)
{
	return *(volatile uint16_t *)at;
}

static uint32_t read32(volatile uint8_t *at)
{
	return *(volatile uint32_t *)at;
}

static void set_bars(struct device *d, uint32_t bar0, uint32_t bar1, uint32_t bar2)
{
	write_to(d->config + 0x10, 4, bar0);
	write_to(d->config + 0x14, 4, bar1);
	write_to(d->config + 0x18, 4, bar2);
	write_to(d->config + 0x04, 2, 6); /* memory, bus master */
}

static void set_bars_back(struct device *d)
{
	set_bars(d, (uint32_t)(uint64_t)d->registers, (uint32_t)(uint64_t)d->bells,
		 (uint32_t)(uint64_t)d->table);
}

static void find_devices(void)
{
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		struct device *d = &devices[device_count];

		d->config = (volatile uint8_t *)(ECAM + (uint64_t)slot * SLOT_STRIDE);
		if (read16(d->config) != 0x1af4)
			continue;
		d->id = (uint16_t)(read16(d->config + 2) - 0x1040);
		d->registers = (volatile uint8_t *)(uint64_t)(read32(d->config + 0x10) & ~15u);
		d->bells = (volatile uint8_t *)(uint64_t)(read32(d->config + 0x14) & ~15u);
		d->table = (volatile uint8_t *)(uint64_t)(read32(d->config + 0x18) & ~15u);
		set_bars_back(d);
		d->queues = read16(d->registers + NUM_QUEUES);
		if (d->queues > MAX_QUEUES)
			d->queues = MAX_QUEUES;
		device_count++;
	}
}

/* --- queues --------------------------------------------------------------------------------- */

static struct desc *desc_of(const struct ring *ring, unsigned index)
{
	return (struct desc *)ring->at + index % ring->size;
}

static volatile uint16_t *avail_of(const struct ring *ring)
{
	return (volatile uint16_t *)(ring->at + 16ull * ring->size);
}

static uint64_t used_at(const struct ring *ring)
{
	return ring->at + 18ull * ring->size + 8;
}

static void reset(struct device *d)
{
	write_to(d->registers + STATUS, 1, 0);
	for (unsigned i = 0; i < 2000000 && *(d->registers + STATUS); i++)
		if (i % 64 == 0)
			(void)*d->bells; /* an exit, for the sake of the VMM's loop */
}

static void set_queue(struct device *d, unsigned index, uint16_t size)
{
	struct ring *ring = &d->rings[index];
	uint64_t at = ARENA + (uint64_t)(d - devices) * 0x40000 + index * 0x8000ull;

	*ring = (struct ring){.at = at, .size = size};
	memset((void *)at, 0, 0x8000);
	write_to(d->registers + QUEUE_SELECT, 2, index);
	write_to(d->registers + QUEUE_SIZE, 2, size);
	write_to(d->registers + QUEUE_VECTOR, 2, 1);
	write_to(d->registers + QUEUE_DESC, 8, at);
	write_to(d->registers + QUEUE_DESC + 8, 8, (uint64_t)avail_of(ring));
	write_to(d->registers + QUEUE_DESC + 16, 8, (used_at(ring) + 3) & ~3ull);
	write_to(d->registers + QUEUE_ENABLE, 2, 1);
}

/* As a driver does, with features of @mask; some queues of a size that is no power of two. */
static void set_up(struct device *d, uint64_t mask, bool well)
{
	reset(d);
	write_to(d->registers + STATUS, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t offered;

		write_to(d->registers + FEATURE_SELECT, 4, i);
		offered = read32(d->registers + FEATURE);
		write_to(d->registers + DRIVER_SELECT, 4, i);
		write_to(d->registers + DRIVER_FEATURE, 4, offered & (uint32_t)(mask >> 32 * i));
	}
	write_to(d->registers + STATUS, 1, 11);
	for (unsigned i = 0; i < d->queues; i++)
		if (well || !one_in(8))
			set_queue(d, i, well ? 16 : (uint16_t)(1u << below(7)));
	write_to(d->registers + STATUS, 1, 15);
}

static void kick(struct device *d, unsigned queue)
{
	write_to(d->bells + BELLS + 4 * queue, 2, queue);
}

static void offer(struct device *d, unsigned queue, uint16_t head)
{
	struct ring *ring = &d->rings[queue];
	volatile uint16_t *avail = avail_of(ring);

	avail[2 + avail[1] % ring->size] = head;
	__asm__ volatile("" : : : "memory");
	avail[1] = (uint16_t)(avail[1] + 1);
	if (!one_in(6))
		kick(d, queue);
}

/* --- what it does to them --------------------------------------------------------------------- */

/* Memory for a request, zeros. */
static uint64_t take_room(uint32_t len)
{
	uint64_t at = room;

	if (room + len > ARENA + ARENA_LEN)
		at = room = ARENA + ARENA_LEN / 2;
	room += (len + 15) & ~15u;
	return at;
}

/* The head of a request that the device may understand. */
static uint32_t fill_head(const struct device *d, uint32_t *words)
{
	static const uint8_t types[] = {0, 1, 0, 1, 4, 8, 11, 13};

	switch (d->id) {
	case DEVICE_BLK:
		words[0] = types[below(8)];
		words[2] = one_in(8) ? (uint32_t)any() : below(2048);
		words[3] = one_in(16) ? (uint32_t)any() : 0;
		return 16;
	case DEVICE_NET:
		words[0] = (uint32_t)any() & 0x0301;
		words[1] = (uint32_t)any();
		return 12 + below(1500);
	case DEVICE_BALLOON:
		for (unsigned i = 0; i < 16; i++)
			words[i] = (uint32_t)(any_address() >> 12);
		return 4 * below(17);
	case DEVICE_VSOCK:
		words[0] = 3; /* from and to: 5.10.6 */
		words[2] = one_in(4) ? (uint32_t)any() : 2;
		words[4] = below(4);
		words[5] = below(4);
		words[6] = any_len();
		words[7] = (uint32_t)(1 + below(2)) | (below(9) << 16);
		words[8] = (uint32_t)any();
		words[9] = one_in(2) ? 65536 : (uint32_t)any();
		words[10] = (uint32_t)any();
		return 44;
	default:
		return below(64);
	}
}

static void plausible(struct device *d, unsigned queue)
{
	struct ring *ring = &d->rings[queue];
	uint64_t head = take_room(2048);
	uint16_t at = ring->next;
	uint32_t len = any_len();
	bool in = one_in(2);

	memset((void *)head, 0, 128);
	*desc_of(ring, at) = (struct desc){head, fill_head(d, (uint32_t *)head), F_NEXT,
					   (uint16_t)((at + 1) % ring->size)};
	if (one_in(2) || len > 1u << 20)
		len = 512 * (1 + below(16));
	*desc_of(ring, at + 1u) = (struct desc){one_in(4) ? any_address() : take_room(8192), len,
						(uint16_t)(F_NEXT | (in ? F_WRITE : 0)),
						(uint16_t)((at + 2) % ring->size)};
	*desc_of(ring, at + 2u) = (struct desc){take_room(16), 1 + below(8), F_WRITE, 0};
	if (one_in(3)) /* as receiving queues have them */
		*desc_of(ring, at) = (struct desc){take_room(8192), 8192, F_WRITE, 0};
	ring->next = (uint16_t)((at + 3) % ring->size);
	offer(d, queue, at % ring->size);
}

static void wild(struct device *d, unsigned queue)
{
	struct ring *ring = &d->rings[queue];
	uint16_t at = (uint16_t)below(ring->size);
	uint16_t head = at;

	for (unsigned i = below(8) + 1; i > 0; i--) {
		struct desc *desc = desc_of(ring, at);

		*desc = (struct desc){any_address(), any_len(), (uint16_t)below(8),
				      one_in(4) ? (uint16_t)any()
						: (uint16_t)((at + 1) % ring->size)};
		if (one_in(32))
			desc->flags = (uint16_t)any();
		at = (uint16_t)((at + 1) % ring->size);
	}
	offer(d, queue, one_in(16) ? (uint16_t)any() : head);
}

static void indirect(struct device *d, unsigned queue)
{
	struct ring *ring = &d->rings[queue];
	uint32_t count = 1 + below(32);
	struct desc *table = (struct desc *)take_room(16 * count);
	uint16_t head = (uint16_t)below(ring->size);

	for (unsigned i = 0; i < count; i++)
		table[i] = (struct desc){any_address(), any_len(),
					 (uint16_t)(below(4) | (one_in(16) ? F_INDIRECT : 0)),
					 one_in(8) ? (uint16_t)any() : (uint16_t)(i + 1)};
	*desc_of(ring, head) = (struct desc){one_in(8) ? any_address() : (uint64_t)table,
					     one_in(8) ? any_len() : 16 * count, F_INDIRECT, 0};
	offer(d, queue, head);
}

/* Registers of a queue that runs, or the device's, or of none. */
static void move(struct device *d, unsigned queue)
{
	static const uint8_t at[] = {QUEUE_SIZE,      QUEUE_VECTOR,    QUEUE_ENABLE,
				     QUEUE_DESC,      QUEUE_DESC + 4,  QUEUE_DESC + 8,
				     QUEUE_DESC + 16, QUEUE_DESC + 20, CONFIG_VECTOR};

	write_to(d->registers + QUEUE_SELECT, 2, one_in(4) ? any() : queue);
	for (unsigned i = below(6); i > 0; i--)
		write_to(d->registers + at[below(sizeof(at))], 1u << below(4),
			 one_in(2) ? any_address() : below(300));
	if (one_in(3))
		write_to(d->registers + STATUS, 1, one_in(2) ? 0 : any());
}

static void jump(struct device *d, unsigned queue)
{
	avail_of(&d->rings[queue])[1] = (uint16_t)any();
	kick(d, queue);
}

/* A message that would be an INIT, an NMI or an SMI is no matter of the device's. */
static uint64_t any_message(void)
{
	return any() & ~0x0000070000000700ull;
}

static void touch_registers(struct device *d)
{
	uint32_t offset = below(one_in(2) ? 0x200 : 0x1000);
	unsigned size = 1u << below(4);

	offset &= one_in(4) ? 0xfffu : ~(size - 1);
	if (offset > 0x1000 - size)
		offset = 0x1000 - size;
	if (one_in(3)) /* memory, which takes bytes: whole words, or it would be such a message */
		write_to(d->table + (offset & 56), one_in(2) ? 4 : 8, any_message());
	else if (one_in(4))
		(void)*(d->bells + offset);
	else
		write_to((one_in(4) ? d->bells : d->registers) + offset, size, any_message());
}

static void touch_config(struct device *d)
{
	unsigned size = 1u << below(4);
	volatile uint8_t *config = one_in(8) ? (volatile uint8_t *)(ECAM + below(0x100000 - 8))
					     : d->config + below(256);

	write_to(config, size, any_message());
	if (one_in(8)) {
		unsigned cap = *(d->config + 0x34);

		/* To the window, which is the last capability. */
		while (*(d->config + cap + 1))
			cap = *(d->config + cap + 1);
		write_to(d->config + cap + 4, 1, below(6));
		write_to(d->config + cap + 8, 4, one_in(2) ? below(0x1000) : any());
		write_to(d->config + cap + 12, 4, one_in(2) ? 1u << below(3) : any());
		write_to(d->config + cap + 16, 4, any_message());
	}
}

/* Over another device, over memory, over configuration space; then back. */
static void move_bars(struct device *d)
{
	struct device *other = &devices[below(device_count)];

	set_bars(d, one_in(2) ? (uint32_t)any_address() : (uint32_t)(uint64_t)other->bells,
		 one_in(2) ? (uint32_t)any_address() : (uint32_t)(uint64_t)other->registers,
		 one_in(2) ? (uint32_t)any_address() : (uint32_t)(uint64_t)other->table);
	write_to(other->registers + below(0x40), 1u << below(3), any());
	kick(other, below(MAX_QUEUES));
	if (one_in(4))
		write_to(d->config + 0x04, 2, 0);
	set_bars_back(d);
}

/* All ports but those that end it or that its words go by. The in-kernel interrupt controllers'
 * too. */
static void touch_port(void)
{
	uint16_t port = (uint16_t)(one_in(2) ? 0x3f0 + below(0x20) : any());
	unsigned size = 1u << below(3);

	if (one_in(2)) {
		in(port);
		return;
	}
	if (port + size > PM_SLEEP && port <= PM_RESET)
		return;
	if ((port + size > PVPANIC && port <= PVPANIC) || (port + size > COM1 && port <= COM1))
		return;
	if (port + size > 0xcf9 && port <= 0xcf9)
		return;
	out(port, size, (uint32_t)any());
}

static void step(void)
{
	struct device *d = &devices[below(device_count)];
	unsigned queue = d->queues ? below(d->queues) : 0;
	unsigned what = below(16);

	if (!d->rings[queue].size || one_in(24))
		set_up(d, one_in(4) ? any() | 1ull << 32 : ~0ull, false);
	if (!d->rings[queue].size)
		return;
	counts[what]++;
	if (what < 6)
		plausible(d, queue);
	else if (what < 8)
		wild(d, queue);
	else if (what == 8)
		indirect(d, queue);
	else if (what == 9)
		move(d, queue);
	else if (what == 10)
		jump(d, queue);
	else if (what == 11)
		touch_registers(d);
	else if (what == 12)
		touch_config(d);
	else if (what == 13 && one_in(4))
		move_bars(d);
	else if (what == 14)
		touch_port();
	else
		reset(d);
}

/* --- what must have held ---------------------------------------------------------------------- */

static bool reads_disk(struct device *d)
{
	uint64_t head = take_room(64);
	uint64_t data = take_room(512);
	volatile uint8_t *status = (volatile uint8_t *)take_room(16);
	static const char text[] = "the first sector";
	struct ring *ring = &d->rings[0];

	memset((void *)head, 0, 64);
	memset((void *)data, 0, 512);
	*status = 0xff;
	set_up(d, 1ull << 32, true);
	*desc_of(ring, 0) = (struct desc){head, 16, F_NEXT, 1};
	*desc_of(ring, 1) = (struct desc){data, 512, F_NEXT | F_WRITE, 2};
	*desc_of(ring, 2) = (struct desc){(uint64_t)status, 1, F_WRITE, 0};
	avail_of(ring)[2] = 0;
	__asm__ volatile("" : : : "memory");
	avail_of(ring)[1] = 1;
	kick(d, 0);
	for (unsigned i = 0; i < 200000 && *status == 0xff; i++)
		(void)*d->bells;
	for (unsigned i = 0; text[i]; i++)
		if (((volatile char *)data)[i] != text[i])
			return false;
	return *status == 0;
}

static void check(void)
{
	struct device *disk = NULL;

	for (unsigned i = 0; i < device_count; i++) {
		struct device *d = &devices[i];

		set_bars_back(d);
		reset(d);
		if (*(d->registers + STATUS))
			end("hostile: a device is not reset");
		if (d->id == DEVICE_BLK)
			disk = d; /* the last: see hostile.sh */
	}
	for (uint64_t at = CANARY; at < CANARY + CANARY_LEN; at += 8)
		if (*(volatile uint64_t *)at != at * 0x9e3779b97f4a7c15ull)
			end("hostile: memory has changed that no device was given");
	if (!disk || !reads_disk(disk))
		end("hostile: the disk cannot be read any more");
}

__attribute__((used)) void run(const uint8_t *params)
{
	uint64_t rounds;

	args = (const char *)(uint64_t) * (const uint32_t *)(params + 0x228); /* cmd_line_ptr */
	random_state = argument("seed=") * 0x9e3779b97f4a7c15ull + 1;
	rounds = argument("rounds=");
	for (unsigned i = 0; i < params[0x1e8];
	     i++) { /* the map: base, size and type, 20 bytes each */
		const uint8_t *entry = params + 0x2d0 + 20u * i;
		uint64_t base = *(const uint64_t *)entry;

		if (base < 1ull << 32 && *(const uint32_t *)(entry + 16) == 1 &&
		    base + *(const uint64_t *)(entry + 8) > ram_end)
			ram_end = base + *(const uint64_t *)(entry + 8);
	}
	map_memory();
	for (uint64_t at = CANARY; at < CANARY + CANARY_LEN; at += 8)
		*(volatile uint64_t *)at = at * 0x9e3779b97f4a7c15ull;
	find_devices();
	say("hostile: ");
	say_number(device_count);
	say(" devices\n");
	for (uint64_t i = 0; device_count && (i < rounds || rounds == 0); i++)
		step();
	check();
	say("hostile: ");
	say_number(rounds);
	end(" rounds are over, and the disk reads as it should");
}
