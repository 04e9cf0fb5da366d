/*
 * What others do with many network namespaces, as fast as C can, and what is done to them.  PREFIX and COUNT name
 * PREFIX0, PREFIX1 .. below /run/netns.
 *
 *	namespaces attach PREFIX COUNT	opens a socket in each that listens; tells how many nanoseconds it all took
 *	namespaces heal PREFIX COUNT	gives ::1 back to each that loses it, until it is killed; says "ready" first
 *	namespaces storm PREFIX COUNT	for each line on standard input takes ::1 from all of them, waits until they have
 *					it back, and tells how many nanoseconds that took; says "ready" first
 *	namespaces burst NAME COUNT	adds and deletes addresses on lo of one, at least so many messages; tells how long
 *	namespaces spawn NAME		runs "ip netns add NAME"; tells whether lo is up there (1 or 0) when that has ended
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef NETLINK_LISTEN_ALL_NSID
#define NETLINK_LISTEN_ALL_NSID 8
#endif
#define LO 1
#define ROOM (16 << 20)
#define BATCH 128

static const unsigned char loopback[16] = {[15] = 1};
static const int watched = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;

struct address_request {
	struct nlmsghdr header;
	struct ifaddrmsg address;
	struct rtattr local;
	unsigned char bytes[16];
	struct rtattr flags;
	uint32_t value;
};

static void fail(const char *what)
{
	fprintf(stderr, "namespaces: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int open_netns(const char *prefix, int number)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), number < 0 ? "/run/netns/%s" : "/run/netns/%s%d", prefix, number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(path);
	return fd;
}

/* A socket in a namespace, which this process stays in; netns is closed. */
static int listen_in(int netns, int groups)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int fd;

	if (setns(netns, CLONE_NEWNET) < 0)
		fail("setns");
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("socket");
	close(netns);
	return fd;
}

static int *listen_in_all(const char *prefix, int count, int groups)
{
	int *fds = calloc(count, sizeof(*fds));

	for (int i = 0; i < count; i++)
		fds[i] = listen_in(open_netns(prefix, i), groups);
	return fds;
}

static struct address_request about_loopback(int type, int flags)
{
	struct address_request request = {
		.header = {sizeof(request), type, NLM_F_REQUEST | flags, 1, 0},
		.address = {AF_INET6, 128, 0, RT_SCOPE_HOST, LO},
		.local = {RTA_LENGTH(16), IFA_LOCAL},
		.flags = {RTA_LENGTH(4), IFA_FLAGS},
		.value = IFA_F_NODAD | IFA_F_NOPREFIXROUTE,
	};

	memcpy(request.bytes, loopback, sizeof(loopback));
	return request;
}

/* Whether a message says that ::1 of lo has gone (RTM_DELADDR) or can be used (RTM_NEWADDR). */
static int tells(const struct nlmsghdr *header, int type)
{
	const struct ifaddrmsg *address = NLMSG_DATA(header);
	const struct rtattr *attr = IFA_RTA(address);

	return header->nlmsg_type == type && address->ifa_family == AF_INET6 && address->ifa_index == LO &&
	       !(address->ifa_flags & IFA_F_TENTATIVE) && attr->rta_type == IFA_ADDRESS &&
	       !memcmp(RTA_DATA(attr), loopback, sizeof(loopback));
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

/* --- attach, heal ------------------------------------------------------------------------------------------------- */

static void listen_at_once(int epoll, const char *prefix, int count)
{
	for (int i = 0; i < count; i++) {
		struct epoll_event event = {.events = EPOLLIN};

		event.data.fd = listen_in(open_netns(prefix, i), watched);
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event) < 0)
			fail("epoll_ctl");
	}
}

static void attach(const char *prefix, int count)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	long long began = now();

	listen_at_once(epoll, prefix, count);
	printf("%lld\n", now() - began);
}

static void heal(const char *prefix, int count)
{
	struct address_request restore = about_loopback(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	static struct epoll_event events[256];
	static char message[1 << 15];

	listen_at_once(epoll, prefix, count);
	ready();
	for (;;) {
		int number = epoll_wait(epoll, events, 256, -1);

		for (int i = 0; i < number; i++) {
			if (recv(events[i].data.fd, message, sizeof(message), 0) < 0)
				fail("recv");
			if (tells((struct nlmsghdr *)message, RTM_DELADDR) &&
			    send(events[i].data.fd, &restore, sizeof(restore), 0) < 0)
				fail("send");
		}
	}
}

/* --- storm -------------------------------------------------------------------------------------------------------- */

/* Gives a namespace an id in this one, so that it can be heard here; it may have one already. */
static void give_id(int home, int netns)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg body;
		struct rtattr fd_attr __attribute__((aligned(NLMSG_ALIGNTO)));
		uint32_t fd;
		struct rtattr id_attr;
		int32_t id;
	} request = {
		.header = {sizeof(request), RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		.fd_attr = {RTA_LENGTH(4), NETNSA_FD},
		.fd = netns,
		.id_attr = {RTA_LENGTH(4), NETNSA_NSID},
		.id = NETNSA_NSID_NOT_ASSIGNED,
	};
	char answer[256];

	if (send(home, &request, sizeof(request), 0) < 0 || recv(home, answer, sizeof(answer), 0) < 0)
		fail("RTM_NEWNSID");
	close(netns);
}

static void bring_lo_up(int fd)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} request = {
		.header = {sizeof(request), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		.link = {.ifi_index = LO, .ifi_flags = IFF_UP, .ifi_change = IFF_UP},
	};
	char answer[256];

	if (send(fd, &request, sizeof(request), 0) < 0 || recv(fd, answer, sizeof(answer), 0) < 0)
		fail("RTM_NEWLINK");
}

static void forget(int observer)
{
	static char message[1 << 15];

	while (recv(observer, message, sizeof(message), MSG_DONTWAIT) >= 0)
		;
}

static void await_all(int observer, int count)
{
	static char message[1 << 15];

	while (count) {
		if (recv(observer, message, sizeof(message), 0) < 0)
			fail("waiting until all have ::1");
		count -= tells((struct nlmsghdr *)message, RTM_NEWADDR);
	}
}

static void storm(const char *prefix, int count)
{
	struct address_request delete = about_loopback(RTM_DELADDR, 0);
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV6_IFADDR};
	int on = 1, room = ROOM, home, observer, *fds;
	struct timeval patience = {.tv_sec = 20};
	char line[64];

	home = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	observer = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	for (int i = 0; i < count; i++)
		give_id(home, open_netns(prefix, i));
	if (setsockopt(observer, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof(on)) < 0 ||
	    setsockopt(observer, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0 ||
	    setsockopt(observer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    bind(observer, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("observer");
	fds = listen_in_all(prefix, count, 0);
	for (int i = 0; i < count; i++)
		bring_lo_up(fds[i]);
	ready();
	while (fgets(line, sizeof(line), stdin)) {
		long long began;

		forget(observer);
		began = now();
		for (int i = 0; i < count; i++)
			if (send(fds[i], &delete, sizeof(delete), 0) < 0)
				fail("send");
		await_all(observer, count);
		printf("%lld\n", now() - began);
		fflush(stdout);
	}
}

/* --- burst, spawn ------------------------------------------------------------------------------------------------- */

static void burst(const char *name, int count)
{
	struct {
		struct nlmsghdr header;
		struct ifaddrmsg address;
		struct rtattr local;
		uint32_t bytes;
	} requests[BATCH];
	int fd = listen_in(open_netns(name, -1), 0);
	long long began = now();

	for (int sent = 0; sent < count; sent += BATCH) {
		for (int i = 0; i < BATCH; i++) {
			requests[i].header = (struct nlmsghdr){sizeof(requests[i]), i % 2 ? RTM_DELADDR : RTM_NEWADDR,
							       NLM_F_REQUEST | (i % 2 ? 0 : NLM_F_CREATE), 1, 0};
			requests[i].address = (struct ifaddrmsg){AF_INET, 32, 0, RT_SCOPE_HOST, LO};
			requests[i].local = (struct rtattr){RTA_LENGTH(4), IFA_LOCAL};
			requests[i].bytes = htobe32(0x7f010000 + i / 2);
		}
		if (send(fd, requests, sizeof(requests), 0) < 0)
			fail("send");
	}
	printf("%lld\n", now() - began);
}

static void spawn(const char *name)
{
	char *const arguments[] = {"ip", "netns", "add", (char *)name, NULL};
	struct ifreq lo = {.ifr_name = "lo"};
	pid_t pid;
	int status, fd;

	if ((errno = posix_spawnp(&pid, "ip", NULL, NULL, arguments, environ)))
		fail("ip");
	if (waitpid(pid, &status, 0) < 0 || status)
		fail("ip netns add");
	if (setns(open_netns(name, -1), CLONE_NEWNET) < 0)
		fail("setns");
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo) < 0)
		fail("SIOCGIFFLAGS");
	printf("%d\n", !!(lo.ifr_flags & IFF_UP));
}

int main(int argc, char **argv)
{
	int count = argc > 3 ? atoi(argv[3]) : 0;

	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "attach"))
		attach(argv[2], count);
	else if (!strcmp(argv[1], "heal"))
		heal(argv[2], count);
	else if (!strcmp(argv[1], "storm"))
		storm(argv[2], count);
	else if (!strcmp(argv[1], "burst"))
		burst(argv[2], count);
	else if (!strcmp(argv[1], "spawn"))
		spawn(argv[2]);
	else
		return 2;
	return 0;
}
