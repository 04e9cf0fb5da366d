/*
 * Adds, dumps and deletes service addresses of lo in a network namespace of its own as quickly as C can, and tells in
 * nanoseconds how long that took.  Commands come from standard input, one a line, and each is answered by a line:
 *
 *   fresh                        another namespace, whose lo is up
 *   listen                       a second socket hears of links and addresses there from now on, and is not read
 *   add FIRST COUNT AT_ONCE      until acknowledged, and until the last address is in use, which a worker sees to
 *   delete FIRST COUNT AT_ONCE   the newest first: all of it, and the longest time that one datagram took
 *   dump                         until every address has been read, and how many there are
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_AT_ONCE 256
#define MOST_ADDRESSES 100000
#define MARK 0xAD
#define LISTENER_BUFFER (64 << 20)

struct request {
	struct nlmsghdr header;
	struct ifaddrmsg address;
	struct rtattr local_attr;
	uint32_t local[4];
	struct rtattr flags_attr;
	uint32_t flags;
	struct rtattr proto_attr;
	uint8_t proto, padding[3];
};

struct found {
	uint32_t address[4], flags, preferred, valid;
	uint8_t prefixlen, scope, proto;
};

static int fd = -1, listener = -1;
static char answer[1 << 16];
static struct found found[MOST_ADDRESSES];

static void fail(const char *what)
{
	fprintf(stderr, "service: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int netlink_socket(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	int opened = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (opened < 0 || bind(opened, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("socket");
	return opened;
}

static void start_to_listen(void)
{
	static const int groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR};
	int size = LISTENER_BUFFER;

	listener = netlink_socket();
	if (setsockopt(listener, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		fail("SO_RCVBUFFORCE");
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
		if (setsockopt(listener, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(*groups)) < 0)
			fail("NETLINK_ADD_MEMBERSHIP");
	puts("0");
}

static void open_rtnetlink(void)
{
	int on = 1;

	if (fd >= 0)
		close(fd);
	if (listener >= 0)
		close(listener);
	listener = -1;
	fd = netlink_socket();
	if (setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) < 0)
		fail("setsockopt");
}

static ssize_t await(void)
{
	ssize_t length = recv(fd, answer, sizeof(answer), 0);

	if (length < (ssize_t)NLMSG_HDRLEN)
		fail("recv");
	return length;
}

static void exchange(const void *data, size_t length)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
	const struct nlmsgerr *error = NLMSG_DATA(header);

	if (send(fd, data, length, 0) < 0)
		fail("send");
	await();
	if (header->nlmsg_type != NLMSG_ERROR || error->error) {
		errno = -error->error;
		fail("a request was refused");
	}
}

static void fresh(void)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} up = {
		.header = {sizeof(up), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		.link = {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP},
	};

	if (unshare(CLONE_NEWNET) < 0)
		fail("unshare");
	open_rtnetlink();
	exchange(&up, sizeof(up));
	puts("0");
}

/* The address of this number: the documentation prefix, and the number at the end. */
static void number_to_address(uint32_t number, uint32_t address[4])
{
	address[0] = htonl(0x20010db8);
	address[1] = address[2] = 0;
	address[3] = htonl(number);
}

static void write_add(struct request *request, uint32_t number)
{
	*request = (struct request){
		.header = {sizeof(*request), RTM_NEWADDR, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, number, 0},
		.address = {.ifa_family = AF_INET6, .ifa_prefixlen = 128, .ifa_flags = IFA_F_NODAD, .ifa_index = 1},
		.local_attr = {RTA_LENGTH(16), IFA_LOCAL},
		.flags_attr = {RTA_LENGTH(4), IFA_FLAGS},
		.flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE,
		.proto_attr = {RTA_LENGTH(1), IFA_PROTO},
		.proto = MARK,
	};
	number_to_address(number, request->local);
}

static void write_delete(struct request *request, uint32_t number)
{
	write_add(request, number);
	request->header.nlmsg_type = RTM_DELADDR;
	request->header.nlmsg_flags = NLM_F_REQUEST;
}

/* Sends requests for count numbers from first on, in steps of 1 or -1; the longest time that a datagram took. */
static long long ask(void (*write)(struct request *, uint32_t), uint32_t first, int step, int count, int at_once)
{
	static struct request requests[MOST_AT_ONCE];
	long long longest = 0;
	int done = 0;

	while (done < count) {
		int size = count - done < at_once ? count - done : at_once;
		long long began = now(), took;

		for (int i = 0; i < size; i++)
			write(&requests[i], first + step * (done + i));
		requests[size - 1].header.nlmsg_flags |= NLM_F_ACK;
		exchange(requests, size * sizeof(*requests));
		took = now() - began;
		longest = took > longest ? took : longest;
		done += size;
	}
	return longest;
}

/* Asks for the way to an address until it leads here. */
static void await_use(uint32_t number)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg route;
		struct rtattr attr;
		uint32_t to[4];
	} request = {
		.header = {sizeof(request), RTM_GETROUTE, NLM_F_REQUEST, 1, 0},
		.route = {.rtm_family = AF_INET6, .rtm_dst_len = 128},
		.attr = {RTA_LENGTH(16), RTA_DST},
	};
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;

	number_to_address(number, request.to);
	do {
		if (send(fd, &request, sizeof(request), 0) < 0)
			fail("send");
		await();
	} while (header->nlmsg_type != RTM_NEWROUTE || ((struct rtmsg *)NLMSG_DATA(header))->rtm_type != RTN_LOCAL);
}

static void read_address(const struct nlmsghdr *header, struct found *one)
{
	const struct ifaddrmsg *address = NLMSG_DATA(header);
	int left = IFA_PAYLOAD(header);

	*one = (struct found){.prefixlen = address->ifa_prefixlen, .scope = address->ifa_scope};
	for (struct rtattr *attr = IFA_RTA(address); RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
		switch (attr->rta_type) {
		case IFA_ADDRESS:
			memcpy(one->address, RTA_DATA(attr), sizeof(one->address));
			break;
		case IFA_FLAGS:
			one->flags = *(uint32_t *)RTA_DATA(attr);
			break;
		case IFA_PROTO:
			one->proto = *(uint8_t *)RTA_DATA(attr);
			break;
		case IFA_CACHEINFO:
			one->preferred = ((struct ifa_cacheinfo *)RTA_DATA(attr))->ifa_prefered;
			one->valid = ((struct ifa_cacheinfo *)RTA_DATA(attr))->ifa_valid;
			break;
		}
	}
}

static int dump(void)
{
	struct {
		struct nlmsghdr header;
		struct ifaddrmsg address;
	} request = {
		.header = {sizeof(request), RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0},
		.address = {.ifa_family = AF_INET6, .ifa_index = 1},
	};
	int count = 0;

	if (send(fd, &request, sizeof(request), 0) < 0)
		fail("send");
	for (;;) {
		int left = await();

		for (struct nlmsghdr *header = (struct nlmsghdr *)answer; NLMSG_OK(header, left);
		     header = NLMSG_NEXT(header, left)) {
			if (header->nlmsg_type != RTM_NEWADDR)
				return count;
			if (count < MOST_ADDRESSES)
				read_address(header, &found[count++]);
		}
	}
}

int main(void)
{
	char line[100];
	int first, count, at_once;
	long long began, done;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		began = now();
		if (!strcmp(line, "fresh\n")) {
			fresh();
		} else if (!strcmp(line, "listen\n")) {
			start_to_listen();
		} else if (!strcmp(line, "dump\n")) {
			count = dump();
			printf("%lld %d\n", now() - began, count);
		} else if (sscanf(line, "add %d %d %d", &first, &count, &at_once) == 3 && at_once <= MOST_AT_ONCE) {
			ask(write_add, first, 1, count, at_once);
			done = now();
			await_use(first + count - 1);
			printf("%lld %lld\n", done - began, now() - began);
		} else if (sscanf(line, "delete %d %d %d", &first, &count, &at_once) == 3 && at_once <= MOST_AT_ONCE) {
			done = ask(write_delete, first + count - 1, -1, count, at_once);
			printf("%lld %lld\n", now() - began, done);
		} else {
			errno = EINVAL;
			fail(line);
		}
	}
	return 0;
}
