/* SPDX-License-Identifier: Apache-2.0 */
/* Static network configuration by rtnetlink(7): one request, one answer, each time. */
#include "net.h"

#include "err.h"
#include "files.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/rtnetlink.h>

struct request {
	union {
		struct nlmsghdr head;
		char bytes[256];
	};
};

/* A request with room for its fixed part of @size bytes, which is returned. */
static void *begin(struct request *request, uint16_t type, uint16_t flags, size_t size)
{
	memset(request, 0, sizeof(*request));
	request->head.nlmsg_type = type;
	request->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	request->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
	return NLMSG_DATA(&request->head);
}

static void add(struct request *request, uint16_t type, const void *value, size_t len)
{
	uint32_t at = NLMSG_ALIGN(request->head.nlmsg_len);
	struct rtattr *attr = (struct rtattr *)(void *)(request->bytes + at);

	attr->rta_type = type;
	attr->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(attr), value, len);
	request->head.nlmsg_len = at + (uint32_t)RTA_LENGTH(len);
}

/* Sends it and waits for the kernel's word, which comes at once. 0 or a negative errno. */
static int ask(struct request *request)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[1024];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ssize_t n = -1;
	int error;

	if (fd < 0)
		return -errno;
	if (send(fd, request, request->head.nlmsg_len, 0) >= 0)
		n = recv(fd, &answer, sizeof(answer), 0);
	error = errno;
	close(fd);
	if (n < 0)
		return -error;
	if ((size_t)n < sizeof(answer.head) + sizeof(answer.error) ||
	    answer.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.error.error;
}

static int link_up(unsigned index, uint32_t mtu)
{
	struct request request;
	struct ifinfomsg *link = begin(&request, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = (int)index;
	link->ifi_flags = IFF_UP;
	link->ifi_change = IFF_UP;
	if (mtu)
		add(&request, IFLA_MTU, &mtu, sizeof(mtu));
	return ask(&request);
}

struct address {
	unsigned char family;
	unsigned char prefix;
	unsigned char bytes[16];
	size_t len;
};

/* "10.0.2.15/24" or "fd00::15/64"; without a prefix it is the whole address. */
static bool parse_address(const char *text, struct address *ret)
{
	char host[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	unsigned long prefix;
	char *end;

	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	ret->family = strchr(host, ':') ? AF_INET6 : AF_INET;
	ret->len = ret->family == AF_INET6 ? 16 : 4;
	if (inet_pton(ret->family, host, ret->bytes) != 1)
		return false;
	ret->prefix = (unsigned char)(ret->len * 8);
	if (text[len] == '\0')
		return true;
	prefix = strtoul(text + len + 1, &end, 10);
	if (end == text + len + 1 || *end || prefix > ret->len * 8)
		return false;
	ret->prefix = (unsigned char)prefix;
	return true;
}

static int add_address(unsigned index, const struct address *address)
{
	struct request request;
	struct ifaddrmsg *msg =
		begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*msg));

	msg->ifa_family = address->family;
	msg->ifa_prefixlen = address->prefix;
	msg->ifa_index = index;
	/* The host gives addresses out: nobody else can have it, and waiting to see costs a second.
	 */
	msg->ifa_flags = address->family == AF_INET6 ? IFA_F_NODAD : 0;
	add(&request, IFA_LOCAL, address->bytes, address->len);
	add(&request, IFA_ADDRESS, address->bytes, address->len);
	return ask(&request);
}

static int add_gateway(unsigned index, const struct address *gateway)
{
	struct request request;
	uint32_t out = index;
	struct rtmsg *route =
		begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*route));

	route->rtm_family = gateway->family;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = RTPROT_STATIC;
	route->rtm_scope = RT_SCOPE_UNIVERSE;
	route->rtm_type = RTN_UNICAST;
	route->rtm_flags = RTNH_F_ONLINK; /* it may lie outside of a /32 */
	add(&request, RTA_GATEWAY, gateway->bytes, gateway->len);
	add(&request, RTA_OIF, &out, sizeof(out));
	return ask(&request);
}

/* The interface with this hardware address; 0 if there is none. */
static unsigned find_by_mac(const uint8_t mac[6])
{
	DIR *dir = opendir("/sys/class/net");
	struct dirent *entry;
	unsigned index = 0;
	char path[320];
	char wanted[18];
	char has[32];

	snprintf(wanted, sizeof(wanted), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	while (dir && !index && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/class/net/%s/address", entry->d_name);
		if (entry->d_name[0] != '.' && read_small_file(path, has, sizeof(has)) > 0 &&
		    strcmp(has, wanted) == 0)
			index = if_nametoindex(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return index;
}

static int find_interface(const struct kiln__agent_interface *interface, kiln_error *err)
{
	unsigned index = 0;

	if (interface->mac.len == 6)
		index = find_by_mac(interface->mac.at);
	else if (interface->name)
		index = if_nametoindex(interface->name);
	if (index)
		return (int)index;
	return kiln__fail(err, KILN_ENOENT, "there is no network interface %s",
			  interface->name ? interface->name : "with that hardware address");
}

int net_loopback(kiln_error *err)
{
	int r = link_up(if_nametoindex("lo"), 0);

	return r < 0 ? kiln__fail_errno(err, -r, "cannot bring the loopback interface up") : 0;
}

int net_interface(const struct kiln__agent_interface *interface, kiln_error *err)
{
	struct address address;
	const char *text;
	int index = find_interface(interface, err);
	int r;

	if (index < 0)
		return index;
	r = link_up((unsigned)index, interface->mtu);
	if (r < 0)
		return kiln__fail_errno(err, -r, "cannot bring a network interface up");
	for (text = kiln__strs_next(&interface->addresses, NULL); text;
	     text = kiln__strs_next(&interface->addresses, text)) {
		if (!parse_address(text, &address))
			return kiln__fail(err, KILN_EINVAL, "\"%s\" is no address", text);
		r = add_address((unsigned)index, &address);
		if (r < 0)
			return kiln__fail_errno(err, -r, "cannot set the address %s", text);
	}
	for (text = kiln__strs_next(&interface->gateways, NULL); text;
	     text = kiln__strs_next(&interface->gateways, text)) {
		if (!parse_address(text, &address))
			return kiln__fail(err, KILN_EINVAL, "\"%s\" is no address", text);
		r = add_gateway((unsigned)index, &address);
		if (r < 0)
			return kiln__fail_errno(err, -r, "cannot set the gateway %s", text);
	}
	return 0;
}
