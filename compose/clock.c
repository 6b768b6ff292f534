/* A clock of a node's own: preloaded into all its processes, it moves the time of day they read by an offset.
 *
 * The offset, in nanoseconds, is the eight bytes of the file that RAYCHAOS_CLOCK names. The file is mapped, so whoever
 * writes it changes the time in all processes at once. The machine's clock stays as it is, and so do clocks that only
 * measure durations (CLOCK_MONOTONIC and its like). Whoever waits until a time of day has computed that from a moved
 * clock: it is moved back before the kernel, which knows nothing of the offset, is asked to wait.
 *
 *     cc -O2 -shared -fPIC -o raychaos-clock.so clock.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

/* What this library stands before, and since when it has had its meaning: the linker's default version of each. */
#define STANDS_BEFORE(X)                                                                                             \
  X(clock_gettime, "GLIBC_2.17")                                                                                     \
  X(clock_nanosleep, "GLIBC_2.17")                                                                                   \
  X(pthread_cond_timedwait, "GLIBC_2.3.2")                                                                           \
  X(pthread_cond_clockwait, "GLIBC_2.34")                                                                            \
  X(pthread_mutex_timedlock, "GLIBC_2.34")                                                                           \
  X(pthread_mutex_clocklock, "GLIBC_2.34")                                                                           \
  X(pthread_rwlock_timedrdlock, "GLIBC_2.34")                                                                        \
  X(pthread_rwlock_timedwrlock, "GLIBC_2.34")                                                                        \
  X(pthread_rwlock_clockrdlock, "GLIBC_2.34")                                                                        \
  X(pthread_rwlock_clockwrlock, "GLIBC_2.34")                                                                        \
  X(sem_timedwait, "GLIBC_2.34")                                                                                     \
  X(sem_clockwait, "GLIBC_2.34")                                                                                     \
  X(cnd_timedwait, "GLIBC_2.34")                                                                                     \
  X(mtx_timedlock, "GLIBC_2.34")                                                                                     \
  X(syscall, "GLIBC_2.2.5")

#define DECLARE(name, version) static __typeof__(name) *real_##name;
STANDS_BEFORE(DECLARE)

/* Looked up before the program begins, as that is no thing to do in a signal handler or under a lock; at once for those
 * whose own constructors come before ours. */
#define FIND(name, version)                                                                                          \
  if (!real_##name) real_##name = (__typeof__(name) *)dlvsym(RTLD_NEXT, #name, version);                             \
  if (!real_##name) real_##name = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);

static void find_all(void) { STANDS_BEFORE(FIND) }

#define REAL(name) (real_##name ? real_##name : (find_all(), real_##name))

static const volatile int64_t none = 0;
static const volatile int64_t *offset_ns = &none;

__attribute__((constructor)) static void begin(void) {
  find_all();
  const char *path = getenv("RAYCHAOS_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) offset_ns = mapped;
}

static int is_of_day(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

static void move(struct timespec *time, int64_t by_ns) {
  int64_t ns = time->tv_nsec + by_ns % SECOND_NS;
  time->tv_sec += by_ns / SECOND_NS;
  if (ns < 0) ns += SECOND_NS, time->tv_sec--;
  if (ns >= SECOND_NS) ns -= SECOND_NS, time->tv_sec++;
  time->tv_nsec = ns;
}

/* A deadline as the kernel means it; what is no time at all is left for the kernel to refuse. */
static const struct timespec *unmoved(const struct timespec *deadline, struct timespec *room) {
  if (!deadline || deadline->tv_nsec < 0 || deadline->tv_nsec >= SECOND_NS) return deadline;
  *room = *deadline;
  move(room, -*offset_ns);
  if (room->tv_sec < 0) room->tv_sec = 0, room->tv_nsec = 0;
  return room;
}

/* -- reading ------------------------------------------------------------------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = REAL(clock_gettime)(clock, time);
  if (!result && is_of_day(clock)) move(time, *offset_ns);
  return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  struct timespec now;
  if (zone) memset(zone, 0, sizeof(struct timezone));
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  time->tv_sec = now.tv_sec, time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *result) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME_COARSE, &now)) return -1;
  if (result) *result = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *time, int base) {
  return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, time) ? base : 0;
}

/* -- waiting until a time of day ------------------------------------------------------------------------------ */

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *left) {
  struct timespec room;
  if (is_of_day(clock) && (flags & TIMER_ABSTIME)) request = unmoved(request, &room);
  return REAL(clock_nanosleep)(clock, flags, request, left);
}

/* A condition variable knows its clock: bit 1 of a field of glibc's is set for the monotonic one. */
static int waits_by_day(const pthread_cond_t *condition) { return !(condition->__data.__wrefs & 2); }

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
  struct timespec room;
  if (waits_by_day(condition)) deadline = unmoved(deadline, &room);
  return REAL(pthread_cond_timedwait)(condition, mutex, deadline);
}

int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
                           const struct timespec *restrict deadline) {
  struct timespec room;
  if (is_of_day(clock)) deadline = unmoved(deadline, &room);
  return REAL(pthread_cond_clockwait)(condition, mutex, clock, deadline);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict deadline) {
  struct timespec room;
  return REAL(pthread_mutex_timedlock)(mutex, unmoved(deadline, &room));
}

int pthread_mutex_clocklock(pthread_mutex_t *restrict mutex, clockid_t clock,
                            const struct timespec *restrict deadline) {
  struct timespec room;
  if (is_of_day(clock)) deadline = unmoved(deadline, &room);
  return REAL(pthread_mutex_clocklock)(mutex, clock, deadline);
}

int pthread_rwlock_timedrdlock(pthread_rwlock_t *restrict lock, const struct timespec *restrict deadline) {
  struct timespec room;
  return REAL(pthread_rwlock_timedrdlock)(lock, unmoved(deadline, &room));
}

int pthread_rwlock_timedwrlock(pthread_rwlock_t *restrict lock, const struct timespec *restrict deadline) {
  struct timespec room;
  return REAL(pthread_rwlock_timedwrlock)(lock, unmoved(deadline, &room));
}

int pthread_rwlock_clockrdlock(pthread_rwlock_t *restrict lock, clockid_t clock,
                               const struct timespec *restrict deadline) {
  struct timespec room;
  if (is_of_day(clock)) deadline = unmoved(deadline, &room);
  return REAL(pthread_rwlock_clockrdlock)(lock, clock, deadline);
}

int pthread_rwlock_clockwrlock(pthread_rwlock_t *restrict lock, clockid_t clock,
                               const struct timespec *restrict deadline) {
  struct timespec room;
  if (is_of_day(clock)) deadline = unmoved(deadline, &room);
  return REAL(pthread_rwlock_clockwrlock)(lock, clock, deadline);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
  struct timespec room;
  return REAL(sem_timedwait)(semaphore, unmoved(deadline, &room));
}

int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict deadline) {
  struct timespec room;
  if (is_of_day(clock)) deadline = unmoved(deadline, &room);
  return REAL(sem_clockwait)(semaphore, clock, deadline);
}

/* C11's: always by the time of day. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict deadline) {
  struct timespec room;
  return REAL(cnd_timedwait)(condition, mutex, unmoved(deadline, &room));
}

int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict deadline) {
  struct timespec room;
  return REAL(mtx_timedlock)(mutex, unmoved(deadline, &room));
}

/* Abseil, and with it gRPC and Ray, asks the kernel itself. */
long syscall(long number, ...) {
  long a[6];
  struct timespec room;
  va_list given;
  va_start(given, number);
  for (int place = 0; place < 6; place++) a[place] = va_arg(given, long);
  va_end(given);
  if (number == SYS_clock_gettime) return clock_gettime((clockid_t)a[0], (struct timespec *)a[1]);
  if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET)
    a[3] = (long)unmoved((const struct timespec *)a[3], &room);
  return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
