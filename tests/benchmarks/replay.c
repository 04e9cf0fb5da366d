/*
 * Sends datagrams that others have written to rtnetlink of a network namespace of its own, where lo is up, one after
 * the other, and tells in nanoseconds how long the kernel took to acknowledge them, and how long until the last address
 * was in use, which the kernel leaves to a worker: replay FILE [GROUP]
 *
 * FILE holds each datagram behind its length (32 bits, in the order of the host).  Its messages are for addresses of lo
 * and bear IFA_LOCAL first.  What asks for acknowledgements gets them before the next datagram is sent.  With GROUP a
 * second socket listens to that group, and is not read meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
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

#define LISTENER_BUFFER (64 << 20)

static void fail(const char *what)
{
	fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_rtnetlink(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	int on = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("socket");
	if (setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) < 0)
		fail("NETLINK_CAP_ACK");
	return fd;
}

static const struct nlmsghdr *await(int fd)
{
	static char answer[1 << 16];
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;

	if (recv(fd, answer, sizeof(answer), 0) < (ssize_t)NLMSG_HDRLEN)
		fail("recv");
	return header;
}

static void must_be_granted(const struct nlmsghdr *answer)
{
	const struct nlmsgerr *error = NLMSG_DATA(answer);

	if (answer->nlmsg_type != NLMSG_ERROR || error->error) {
		errno = -error->error;
		fail("a request was refused");
	}
}

/* Sends a datagram and reads all acknowledgements of it; gives its last message. */
static const struct nlmsghdr *exchange(int fd, const void *data, int length)
{
	const struct nlmsghdr *request, *last = data;
	int left = length;

	if (send(fd, data, length, 0) < 0)
		fail("send");
	for (request = data; NLMSG_OK(request, left); request = NLMSG_NEXT(request, left)) {
		if (request->nlmsg_flags & NLM_F_ACK)
			must_be_granted(await(fd));
		last = request;
	}
	return last;
}

static void bring_lo_up(int fd)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} request = {
		.header = {sizeof(request), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		.link = {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP},
	};

	exchange(fd, &request, sizeof(request));
}

/* Asks for the way to the address of a request until it leads here. */
static void await_use(int fd, const struct nlmsghdr *newaddr)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg route;
		struct rtattr attr;
		char to[16];
	} request = {
		.header = {sizeof(request), RTM_GETROUTE, NLM_F_REQUEST, 1, 0},
		.route = {.rtm_family = AF_INET6, .rtm_dst_len = 128},
		.attr = {RTA_LENGTH(sizeof(request.to)), RTA_DST},
	};
	const struct nlmsghdr *answer;

	memcpy(request.to, RTA_DATA(IFA_RTA(NLMSG_DATA(newaddr))), sizeof(request.to));
	do {
		if (send(fd, &request, sizeof(request), 0) < 0)
			fail("send");
		answer = await(fd);
	} while (answer->nlmsg_type != RTM_NEWROUTE || ((struct rtmsg *)NLMSG_DATA(answer))->rtm_type != RTN_LOCAL);
}

static int listen_to(int group)
{
	int size = LISTENER_BUFFER, fd = open_rtnetlink();

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		fail("SO_RCVBUFFORCE");
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		fail("NETLINK_ADD_MEMBERSHIP");
	return fd;
}

static char *read_whole(const char *path, size_t *length)
{
	FILE *file = fopen(path, "rb");
	char *data;

	if (!file || fseek(file, 0, SEEK_END) < 0)
		fail(path);
	*length = ftell(file);
	rewind(file);
	data = malloc(*length + 1);
	if (!data || fread(data, 1, *length, file) != *length)
		fail(path);
	fclose(file);
	return data;
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv)
{
	const struct nlmsghdr *last = NULL;
	long long began, acknowledged;
	size_t length, at = 0;
	const char *data;
	uint32_t size;
	int fd;

	if (argc < 2)
		return 2;
	data = read_whole(argv[1], &length);
	if (unshare(CLONE_NEWNET) < 0)
		fail("unshare");
	fd = open_rtnetlink();
	bring_lo_up(fd);
	if (argc > 2)
		listen_to(atoi(argv[2]));
	began = now();
	while (at + sizeof(size) <= length) {
		memcpy(&size, data + at, sizeof(size));
		last = exchange(fd, data + at + sizeof(size), size);
		at += sizeof(size) + size;
	}
	acknowledged = now();
	if (last)
		await_use(fd, last);
	printf("%lld %lld\n", acknowledged - began, now() - began);
	return 0;
}
