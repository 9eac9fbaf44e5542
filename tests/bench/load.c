/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load of `./dev bench datapath`: one client and one server, each in its network namespace, both on CPU 0.
 *
 *     load METRIC CLIENT_NETNS SERVER_NETNS ADDRESS PORT [FIRST COUNT STEP]
 *
 * Says "ready", then answers each line "SECONDS" on standard input with "OPERATIONS CPU_NANOSECONDS": what was
 * done in that time, and the CPU time of both processes for it. Soft interrupts run in the sender's context and
 * are in that time; what falls to ksoftirqd is not.
 *
 *     crr      connect, one byte each way, close by reset
 *     udp_rr   32 bytes each way        tcp_rr   32 bytes each way on one connection
 *     pps      18-byte datagrams, counted where they arrive
 *     stream   writes of 128 KiB, counted in KiB where they arrive
 *
 * With FIRST, COUNT and STEP every connection, request and datagram is a flow of its own, from the next of COUNT
 * IPv4 addresses, STEP apart: each comes from an address that was last used COUNT flows ago.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REQUEST 32
#define SMALL	18
#define BATCH	32
#define BIG	(128 * 1024)
#define SOURCES_A_PORT 256 /* the fewest sources there may be */

struct shared {
	volatile uint64_t received;
	volatile int	  listening;
};

static struct shared *shared;
static union {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} address;
static socklen_t address_size;
static const char *metric;
static uint32_t first, count, step, turn;

static void die(const char *what)
{
	fprintf(stderr, "load %s: %s: %s\n", metric, what, strerror(errno));
	exit(1);
}

static int check(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

static int is(const char *name)
{
	return strcmp(metric, name) == 0;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec time;

	check(clock_gettime(clock, &time), "clock_gettime");
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void enter(const char *netns)
{
	int fd = check(open(netns, O_RDONLY | O_CLOEXEC), netns);

	check(setns(fd, CLONE_NEWNET), "setns");
	close(fd);
}

static int make_socket(int type)
{
	int fd = check(socket(address.any.sa_family, type | SOCK_CLOEXEC, 0), "socket");
	int one = 1, room = 4 << 20;

	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	else
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd;
}

/* ── server ────────────────────────────────────────────────────────────────────────────────────────── */

static void serve_connections(int listening)
{
	static char bytes[BIG];
	ssize_t got;

	for (;;) {
		int fd = accept(listening, 0, 0), one = 1;

		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		while ((got = read(fd, bytes, is("stream") ? BIG : REQUEST)) > 0) {
			if (is("stream"))
				shared->received += got;
			else if (write(fd, bytes, got) != got)
				break;
		}
		close(fd);
	}
}

static void serve_datagrams(int fd)
{
	static char bytes[BATCH][64];
	struct mmsghdr messages[BATCH] = {};
	struct iovec parts[BATCH];
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	int i, got;

	if (is("udp_rr")) {
		for (;; length = sizeof(from)) {
			got = recvfrom(fd, bytes[0], 64, 0, (void *)&from, &length);
			if (got > 0)
				sendto(fd, bytes[0], got, 0, (void *)&from, length);
		}
	}
	for (i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){bytes[i], 64};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, 0);
		if (got > 0)
			shared->received += got;
	}
}

static void serve(const char *netns)
{
	int datagrams = is("udp_rr") || is("pps");
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter(netns);
	fd = make_socket(datagrams ? SOCK_DGRAM : SOCK_STREAM);
	if (address.any.sa_family == AF_INET6)
		address.v6.sin6_addr = in6addr_any;
	else
		address.v4.sin_addr.s_addr = INADDR_ANY;
	check(bind(fd, &address.any, address_size), "bind");
	if (!datagrams)
		check(listen(fd, 128), "listen");
	shared->listening = 1;
	if (datagrams)
		serve_datagrams(fd);
	else
		serve_connections(fd);
}

/* ── client ────────────────────────────────────────────────────────────────────────────────────────── */

/* The next address to speak from. They lie mixed, so that neighbours in time are not neighbours in a table. */
static struct in_addr next_source(void)
{
	return (struct in_addr){htonl(first + (uint64_t)turn++ * 40503 % count * step)};
}

static int connected(int type)
{
	int fd = make_socket(type), one = 1;

	if (count) {
		struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr = next_source()};

		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		check(bind(fd, (void *)&source, sizeof(source)), "bind to a source");
	}
	check(connect(fd, &address.any, address_size), "connect");
	return fd;
}

static void connect_once(void)
{
	struct linger reset = {1, 0};
	int fd = connected(SOCK_STREAM);
	char byte = 'x';

	if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
		die("request");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

static void ask_once(int fd)
{
	static char bytes[REQUEST];

	if (write(fd, bytes, REQUEST) != REQUEST || read(fd, bytes, REQUEST) != REQUEST)
		die("request");
}

static void ask_anew(void)
{
	struct timeval patience = {1, 0};
	int fd = connected(SOCK_DGRAM);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	ask_once(fd);
	close(fd);
}

static void send_batch(int fd)
{
	static char bytes[SMALL];
	static struct iovec part = {bytes, SMALL};
	static struct mmsghdr messages[BATCH];
	int i;

	for (i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	sendmmsg(fd, messages, BATCH, 0);
	/* The server is on this CPU too: without a turn it would only see its buffer overflow. */
	sched_yield();
}

/* A datagram, and the address it comes from. */
struct letter {
	struct iovec part;
	struct cmsghdr header __attribute__((aligned(8)));
	struct in_pktinfo source;
};

_Static_assert(offsetof(struct letter, source) - offsetof(struct letter, header) == CMSG_LEN(0), "as CMSG_DATA");

static void write_letter(struct letter *letter, struct msghdr *message)
{
	static char bytes[SMALL];

	letter->part = (struct iovec){bytes, SMALL};
	letter->header.cmsg_level = IPPROTO_IP;
	letter->header.cmsg_type = IP_PKTINFO;
	letter->header.cmsg_len = CMSG_LEN(sizeof(letter->source));
	message->msg_name = &address.any;
	message->msg_namelen = address_size;
	message->msg_iov = &letter->part;
	message->msg_iovlen = 1;
	message->msg_control = &letter->header;
	message->msg_controllen = CMSG_LEN(sizeof(letter->source));
}

/* Each from another address; and from another port before the first address comes again. */
static void send_batch_anew(void)
{
	static struct letter letters[BATCH];
	static struct mmsghdr messages[BATCH];
	static int fd = -1, batches;
	int i;

	if (batches++ % (SOURCES_A_PORT / BATCH) == 0) {
		close(fd);
		fd = make_socket(SOCK_DGRAM);
	}
	for (i = 0; i < BATCH; i++) {
		if (!letters[i].part.iov_base)
			write_letter(&letters[i], &messages[i].msg_hdr);
		letters[i].source.ipi_spec_dst = next_source();
	}
	if (sendmmsg(fd, messages, BATCH, 0) != BATCH)
		die("datagrams from other addresses");
	sched_yield();
}

static void act(int fd)
{
	static char bytes[BIG];

	if (is("crr"))
		connect_once();
	else if (is("pps") && count)
		send_batch_anew();
	else if (is("pps"))
		send_batch(fd);
	else if (is("udp_rr") && count)
		ask_anew();
	else if (!is("stream"))
		ask_once(fd);
	else if (write(fd, bytes, BIG) != BIG)
		die("write");
}

static uint64_t work(int fd, uint64_t until)
{
	uint64_t done = 0;

	for (; clock_ns(CLOCK_MONOTONIC) < until; done++)
		act(fd);
	return done;
}

static void read_address(const char *text, const char *port)
{
	if (strchr(text, ':')) {
		address.v6.sin6_family = AF_INET6;
		address.v6.sin6_port = htons(atoi(port));
		inet_pton(AF_INET6, text, &address.v6.sin6_addr);
		address_size = sizeof(address.v6);
	} else {
		address.v4.sin_family = AF_INET;
		address.v4.sin_port = htons(atoi(port));
		inet_pton(AF_INET, text, &address.v4.sin_addr);
		address_size = sizeof(address.v4);
	}
}

int main(int words, char **arguments)
{
	cpu_set_t cpus;
	clockid_t server_clock;
	uint64_t done, received, cpu;
	struct timespec settle = {0, 2000000};
	char line[64];
	pid_t server;
	int fd = -1;

	metric = arguments[1];
	if (words != 6 && words != 9) {
		fprintf(stderr, "usage: load METRIC CLIENT_NETNS SERVER_NETNS ADDRESS PORT [FIRST COUNT STEP]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	check(sched_setaffinity(0, sizeof(cpus), &cpus), "sched_setaffinity");
	shared = mmap(0, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	read_address(arguments[4], arguments[5]);
	server = check(fork(), "fork");
	if (!server)
		serve(arguments[3]);
	check(clock_getcpuclockid(server, &server_clock), "clock_getcpuclockid");
	enter(arguments[2]);
	if (words == 9) {
		struct in_addr lowest;

		inet_pton(AF_INET, arguments[6], &lowest);
		first = ntohl(lowest.s_addr);
		count = atoi(arguments[7]);
		step = atoi(arguments[8]);
	}
	while (!shared->listening && !waitpid(server, 0, WNOHANG))
		nanosleep(&settle, 0);
	if (!is("crr") && !count)
		fd = connected(is("udp_rr") || is("pps") ? SOCK_DGRAM : SOCK_STREAM);
	if (is("udp_rr") && !count) {
		struct timeval patience = {1, 0};

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	}
	work(fd, clock_ns(CLOCK_MONOTONIC) + 20000000);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		received = shared->received;
		cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + clock_ns(server_clock);
		done = work(fd, clock_ns(CLOCK_MONOTONIC) + (uint64_t)(atof(line) * 1e9));
		nanosleep(&settle, 0);
		cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + clock_ns(server_clock) - cpu;
		received = shared->received - received;
		if (is("pps"))
			done = received;
		else if (is("stream"))
			done = received / 1024;
		printf("%llu %llu\n", (unsigned long long)done, (unsigned long long)cpu);
		fflush(stdout);
	}
	kill(server, SIGKILL);
	return 0;
}
