/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load of `./dev bench datapath`: one client and one server, each in its network namespace, both on CPU 0.
 *
 *     load METRIC CLIENT_NETNS SERVER_NETNS ADDRESS PORT
 *
 * Says "ready", then answers each line "SECONDS" on standard input with "OPERATIONS CPU_NANOSECONDS": what was
 * done in that time, and the CPU time of both processes for it. Soft interrupts run in the sender's context and
 * are in that time; what falls to ksoftirqd is not.
 *
 *     crr      connect, one byte each way, close by reset
 *     udp_rr   32 bytes each way        tcp_rr   32 bytes each way on one connection
 *     pps      18-byte datagrams, counted where they arrive
 *     stream   writes of 128 KiB, counted in KiB where they arrive
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
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

struct shared {
	volatile uint64_t received;
	volatile int	  listening;
};

static struct shared *shared;
static struct sockaddr_in address;
static const char *metric;

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
	int fd = check(socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket");
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
	struct sockaddr_in from;
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
	address.sin_addr.s_addr = INADDR_ANY;
	check(bind(fd, (void *)&address, sizeof(address)), "bind");
	if (!datagrams)
		check(listen(fd, 128), "listen");
	shared->listening = 1;
	if (datagrams)
		serve_datagrams(fd);
	else
		serve_connections(fd);
}

/* ── client ────────────────────────────────────────────────────────────────────────────────────────── */

static int connected(int type)
{
	int fd = make_socket(type);

	check(connect(fd, (void *)&address, sizeof(address)), "connect");
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

static uint64_t work(int fd, uint64_t until)
{
	static char bytes[BIG];
	uint64_t done = 0;
	ssize_t size = is("stream") ? BIG : REQUEST, got, part;

	for (; clock_ns(CLOCK_MONOTONIC) < until; done++) {
		if (is("crr")) {
			connect_once();
		} else if (is("pps")) {
			send_batch(fd);
		} else {
			if (write(fd, bytes, size) != size)
				die("write");
			for (got = 0; !is("stream") && got < size; got += part) {
				part = read(fd, bytes, size - got);
				if (part <= 0)
					die("read");
			}
		}
	}
	return done;
}

int main(int count, char **arguments)
{
	cpu_set_t first;
	clockid_t server_clock;
	uint64_t done, received, cpu;
	struct timespec settle = {0, 2000000};
	char line[64];
	pid_t server;
	int fd = -1;

	metric = arguments[1];
	if (count != 6) {
		fprintf(stderr, "usage: load METRIC CLIENT_NETNS SERVER_NETNS ADDRESS PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	check(sched_setaffinity(0, sizeof(first), &first), "sched_setaffinity");
	shared = mmap(0, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	address.sin_family = AF_INET;
	address.sin_port = htons(atoi(arguments[5]));
	server = check(fork(), "fork");
	if (!server)
		serve(arguments[3]);
	check(clock_getcpuclockid(server, &server_clock), "clock_getcpuclockid");
	enter(arguments[2]);
	inet_pton(AF_INET, arguments[4], &address.sin_addr);
	while (!shared->listening && !waitpid(server, 0, WNOHANG))
		nanosleep(&settle, 0);
	if (!is("crr"))
		fd = connected(is("udp_rr") || is("pps") ? SOCK_DGRAM : SOCK_STREAM);
	if (is("udp_rr")) {
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
