/* A stand-in for NETLINK_ROUTE sockets: preloaded into a program, it makes each of them a connection to the Unix
 * socket that ADDRSVC_NETLINK names, where `addrsvc netlink --listen unix:PATH` answers in the kernel's place.
 *
 * The protocol is NLUX/1: a Unix datagram is a netlink datagram, and what a netlink socket says outside its payload
 * travels as a control datagram.  A descriptor is ours if it is connected there, however the program came by it.
 * Everything else that the program does with sockets reaches the C library untouched.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LARGEST (1 << 20)
#define MAX_FD 1024
#define MAGIC 0x58554C4Eu
#define WANTS_REPLY 1
#define IS_REPLY 2

enum { HELLO = 1, BIND = 2, SETSOCKOPT = 3, GETSOCKOPT = 4, PKTINFO = 5, OVERRUN = 6 };

struct control {
	uint32_t zero, magic;
	uint16_t op, flags;
	uint32_t tag;
	uint32_t args[64];
};

#define HEADER offsetof(struct control, args)

/* A datagram that has been fetched and not been received yet. */
struct datagram {
	struct datagram *next;
	size_t size;
	char data[];
};

/* What is known of a descriptor of ours. */
static struct end {
	int known, type, bound, pktinfo;
	uint32_t portid, groups;
	struct datagram *first, **last;
} ends[MAX_FD];

static char buffer[LARGEST];

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static int fail(int error)
{
	errno = error;
	return -1;
}

/* --- what is fetched ---------------------------------------------------------------------------------------------- */

static int fetch(int fd, int flags)
{
	struct end *end = &ends[fd];
	ssize_t size = REAL(recv)(fd, buffer, sizeof buffer, flags & MSG_DONTWAIT);
	struct datagram *datagram;

	if (size <= 0)
		return size < 0 ? -1 : fail(ECONNRESET);
	if (!(datagram = malloc(sizeof *datagram + size)))
		return fail(ENOMEM);
	datagram->next = NULL;
	datagram->size = size;
	memcpy(datagram->data, buffer, size);
	*end->last = datagram;
	end->last = &datagram->next;
	return 0;
}

static struct control *control_in(struct datagram *datagram)
{
	struct control *control = (struct control *)datagram->data;

	return datagram->size >= HEADER && !control->zero && control->magic == MAGIC ? control : NULL;
}

static void drop(struct end *end, struct datagram **place)
{
	struct datagram *datagram = *place;

	*place = datagram->next;
	if (!*place)
		end->last = place;
	free(datagram);
}

/* --- control datagrams -------------------------------------------------------------------------------------------- */

/* Ask and wait; the answer replaces args, and its size is returned.  What comes before it is kept to be received. */
static int ask(int fd, int op, uint32_t *args, size_t words)
{
	static uint32_t tag;
	struct control request = { .magic = MAGIC, .op = op, .flags = WANTS_REPLY, .tag = ++tag };
	struct datagram **place;
	struct control *reply;
	int size, error;

	memcpy(request.args, args, words * sizeof *args);
	if (REAL(send)(fd, &request, HEADER + words * sizeof *args, MSG_NOSIGNAL) < 0)
		return -1;
	for (;;) {
		place = ends[fd].last;
		poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1);
		if (fetch(fd, 0) < 0)
			return -1;
		reply = control_in(*place);
		if (reply && reply->flags & IS_REPLY && reply->tag == tag)
			break;
	}
	error = reply->args[0];
	size = (*place)->size - HEADER - sizeof *args;
	memcpy(args, reply->args + 1, size);
	drop(&ends[fd], place);
	return error ? fail(error) : size;
}

/* --- which descriptors are ours ----------------------------------------------------------------------------------- */

static int is_connected_there(int fd, const char *path)
{
	struct sockaddr_un peer = { 0 };
	socklen_t size = sizeof peer - 1;

	return path && REAL(getpeername)(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sun_family == AF_UNIX &&
	       !strcmp(peer.sun_path, path);
}

static void forget(int fd)
{
	struct end *end = &ends[fd];

	while (end->known && end->first)
		drop(end, &end->first);
	end->known = 0;
}

static int say_hello(int fd, int type)
{
	uint32_t args[64] = { 1, 0 };

	forget(fd);
	ends[fd] = (struct end){ .known = 1, .type = type, .last = &ends[fd].first };
	if (ask(fd, HELLO, args, 2) < 0)
		return -1;
	ends[fd].portid = args[1];
	return 0;
}

static struct end *end_of(int fd)
{
	int error = errno;
	struct end *end = NULL;

	if (fd >= 0 && fd < MAX_FD && is_connected_there(fd, getenv("ADDRSVC_NETLINK")) &&
	    (ends[fd].known || say_hello(fd, SOCK_DGRAM) == 0))
		end = &ends[fd];
	errno = error;
	return end;
}

int socket(int domain, int type, int protocol)
{
	const char *path = getenv("ADDRSVC_NETLINK");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, flags = type & (SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (domain != AF_NETLINK || protocol != NETLINK_ROUTE || !path)
		return REAL(socket)(domain, type, protocol);
	if ((fd = REAL(socket)(AF_UNIX, SOCK_SEQPACKET | flags, 0)) < 0)
		return -1;
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (fd < MAX_FD && REAL(connect)(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
	    say_hello(fd, type & ~flags) == 0)
		return fd;
	REAL(close)(fd);
	return -1;
}

int close(int fd)
{
	if (fd >= 0 && fd < MAX_FD)
		forget(fd);
	return REAL(close)(fd);
}

int bind(int fd, const struct sockaddr *address, socklen_t size)
{
	const struct sockaddr_nl *name = (const struct sockaddr_nl *)address;
	struct end *end = end_of(fd);
	uint32_t args[64];

	if (!end)
		return REAL(bind)(fd, address, size);
	if (size < sizeof *name || name->nl_family != AF_NETLINK)
		return fail(EINVAL);
	args[0] = name->nl_pid;
	args[1] = name->nl_groups;
	if (ask(fd, BIND, args, 2) < 0)
		return -1;
	end->portid = args[0];
	end->groups = name->nl_groups;
	end->bound = 1;
	return 0;
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
	struct end *end = end_of(fd);
	uint32_t args[64] = { level, option, 0 };

	if (!end)
		return REAL(setsockopt)(fd, level, option, value, size);
	memcpy(&args[2], value, size < sizeof *args ? size : sizeof *args);
	if (ask(fd, SETSOCKOPT, args, 3) < 0)
		return -1;
	if (level == SOL_NETLINK && option == NETLINK_PKTINFO)
		end->pktinfo = *(const int *)value;
	return 0;
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	struct end *end = end_of(fd);
	uint32_t args[64] = { level, option };
	int given = sizeof *args;

	if (!end)
		return REAL(getsockopt)(fd, level, option, value, size);
	if (level == SOL_SOCKET && option == SO_DOMAIN)
		args[0] = AF_NETLINK;
	else if (level == SOL_SOCKET && option == SO_TYPE)
		args[0] = end->type;
	else if (level == SOL_SOCKET && option == SO_PROTOCOL)
		args[0] = NETLINK_ROUTE;
	else if ((given = ask(fd, GETSOCKOPT, args, 2)) < 0)
		return -1;
	memcpy(value, args, *size < (socklen_t)given ? *size : (socklen_t)given);
	*size = given;
	return 0;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static void put_name(void *where, socklen_t *size, uint32_t portid, uint32_t groups)
{
	struct sockaddr_nl name = { .nl_family = AF_NETLINK, .nl_pid = portid, .nl_groups = groups };

	memcpy(where, &name, *size < sizeof name ? *size : sizeof name);
	*size = sizeof name;
}

int connect(int fd, const struct sockaddr *address, socklen_t size)
{
	return end_of(fd) ? 0 : REAL(connect)(fd, address, size);
}

int getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
	struct end *end = end_of(fd);

	if (!end)
		return REAL(getsockname)(fd, address, size);
	put_name(address, size, end->bound ? end->portid : 0, end->groups);
	return 0;
}

int getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
	if (!end_of(fd))
		return REAL(getpeername)(fd, address, size);
	put_name(address, size, 0, 0);
	return 0;
}

/* --- data --------------------------------------------------------------------------------------------------------- */

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct msghdr bare = *message;
	struct end *end = end_of(fd);

	if (!end)
		return REAL(sendmsg)(fd, message, flags);
	bare.msg_name = NULL;
	bare.msg_namelen = 0;
	bare.msg_control = NULL;
	bare.msg_controllen = 0;
	end->bound = 1;
	return REAL(sendmsg)(fd, &bare, flags | MSG_NOSIGNAL);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length)
{
	struct iovec part = { (void *)data, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	return end_of(fd) ? sendmsg(fd, &message, flags) : REAL(sendto)(fd, data, size, flags, address, length);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
	return end_of(fd) ? sendto(fd, data, size, flags, NULL, 0) : REAL(send)(fd, data, size, flags);
}

static void put_group(struct msghdr *message, uint32_t group)
{
	struct nl_pktinfo info = { .group = group };
	struct cmsghdr *header = CMSG_FIRSTHDR(message);

	if (!header || message->msg_controllen < CMSG_SPACE(sizeof info)) {
		message->msg_flags |= MSG_CTRUNC;
		message->msg_controllen = 0;
		return;
	}
	header->cmsg_level = SOL_NETLINK;
	header->cmsg_type = NETLINK_PKTINFO;
	header->cmsg_len = CMSG_LEN(sizeof info);
	memcpy(CMSG_DATA(header), &info, sizeof info);
	message->msg_controllen = CMSG_SPACE(sizeof info);
}

static size_t scatter(struct msghdr *message, const char *data, size_t size)
{
	size_t copied = 0, i, part;

	for (i = 0; i < message->msg_iovlen && copied < size; i++, copied += part) {
		part = message->msg_iov[i].iov_len < size - copied ? message->msg_iov[i].iov_len : size - copied;
		memcpy(message->msg_iov[i].iov_base, data + copied, part);
	}
	return copied;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	struct end *end = end_of(fd);
	struct control *control;
	const char *data;
	uint32_t group = 0;
	size_t size, copied;

	if (!end)
		return REAL(recvmsg)(fd, message, flags);
	if (!end->first && fetch(fd, flags) < 0)
		return -1;
	data = end->first->data;
	size = end->first->size;
	if ((control = control_in(end->first)) && control->op == OVERRUN) {
		drop(end, &end->first);
		return fail(ENOBUFS);
	}
	if (control) {
		group = control->args[0];
		data += HEADER + sizeof group;
		size -= HEADER + sizeof group;
	}
	copied = scatter(message, data, size);
	message->msg_flags = copied < size ? MSG_TRUNC : 0;
	if (message->msg_name)
		put_name(message->msg_name, &message->msg_namelen, 0, group && group <= 32 ? 1u << (group - 1) : 0);
	if (end->pktinfo)
		put_group(message, group);
	else
		message->msg_controllen = 0;
	if (!(flags & MSG_PEEK))
		drop(end, &end->first);
	return flags & MSG_TRUNC ? size : copied;
}

ssize_t recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *length)
{
	struct iovec part = { data, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_name = address };
	ssize_t received;

	if (!end_of(fd))
		return REAL(recvfrom)(fd, data, size, flags, address, length);
	message.msg_namelen = length ? *length : 0;
	received = recvmsg(fd, &message, flags);
	if (length)
		*length = message.msg_namelen;
	return received;
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
	return end_of(fd) ? recvfrom(fd, data, size, flags, NULL, NULL) : REAL(recv)(fd, data, size, flags);
}
