// Feeds a program of requests to PyTorch's own CUDA caching allocator, and prints what it does.
// Commands: a ID BYTES STREAM | f ID | e (empty_cache) | frac F | r ID STREAM (record_stream) | c (all stream work is done)
//           d ID (the stream work on freed block ID is done) | manual (stream work is done only when told)
// Output: a line per trace event `T action addr size stream`; at the end the statistics.
// Stream 0 is the default stream, 1.. are torch.cuda.Stream() in the order of their making.
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/cuda/PeerToPeerAccess.h>
#include <cstdio>
#include <iostream>
#include <map>
#include <unordered_map>
extern "C" unsigned long long cudaFakeRecorded, cudaFakeDone;
extern "C" int cudaFakeAuto;
extern "C" void cudaFakeFinish(unsigned long long);
namespace c10::cuda::_internal { void setHasPrimaryContext(bool (*)(c10::DeviceIndex)); }
using namespace c10::cuda::CUDACachingAllocator;
static const char* ACTIONS[] = {"alloc", "free_requested", "free_completed", "segment_alloc", "segment_free",
                                "segment_map", "segment_unmap", "snapshot", "oom", "annotate"};
static std::vector<c10::cuda::CUDAStream> streams;
static c10::cuda::CUDAStream stream(size_t n) {
  while (streams.size() <= n) streams.push_back(streams.empty() ? c10::cuda::getDefaultCUDAStream(0) : c10::cuda::getStreamFromPool(false, 0));
  return streams[n];
}
static std::map<size_t, size_t> numbers;  // handle -> n
int main() {
  setvbuf(stdout, nullptr, _IOFBF, 1 << 20);
  auto* a = get();
  a->init(1);
  c10::cuda::_internal::setHasPrimaryContext([](c10::DeviceIndex) -> bool { return true; });
  c10::cuda::detail::init_p2p_access_cache(1);
  a->attachAllocatorTraceTracker([](const c10::CachingDeviceAllocator::TraceEntry& e) {
    printf("T %s %zu %zu %zu\n", ACTIONS[(int)e.action_], e.addr_, e.size_, numbers.at((size_t)e.stream_));
  });
  for (size_t n = 0; n < 32; n++) numbers[(size_t)stream(n).stream()] = n;
  std::unordered_map<long, void*> live;
  std::unordered_map<long, std::pair<unsigned long long, unsigned long long>> pending;  // events of a freed block: first, last
  std::string op;
  long id;
  size_t size, n;
  double f;
  while (std::cin >> op) {
    if (op == "a") {
      std::cin >> id >> size >> n;
      try { live[id] = a->raw_alloc_with_stream(size, stream(n).stream()); } catch (const std::exception&) { printf("OOM %ld\n", id); }
    } else if (op == "f") {
      std::cin >> id;
      auto it = live.find(id);
      if (it == live.end()) continue;
      auto before = cudaFakeRecorded;
      a->raw_delete(it->second);
      live.erase(it);
      pending[id] = {before + 1, cudaFakeRecorded};
    } else if (op == "r") {
      std::cin >> id >> n;
      auto it = live.find(id);
      if (it == live.end()) continue;
      c10::DataPtr d(it->second, it->second, a->raw_deleter(), c10::Device(c10::DeviceType::CUDA, 0));
      a->recordStream(d, stream(n));
      d.release_context();
    } else if (op == "d") {
      std::cin >> id;
      for (auto n = pending[id].first; n && n <= pending[id].second; n++) cudaFakeFinish(n);
    } else if (op == "c") cudaFakeDone = cudaFakeRecorded;
    else if (op == "manual") cudaFakeAuto = 0;
    else if (op == "e") a->emptyCache({0, 0});
    else if (op == "frac") { std::cin >> f; a->setMemoryFraction(f, 0); }
  }
  auto s = a->getDeviceStats(0);
  const char* pools[] = {"all", "small_pool", "large_pool"};
  auto one = [](const std::string& name, const auto& x) {
    printf("S %s.current %ld\nS %s.peak %ld\nS %s.allocated %ld\nS %s.freed %ld\n", name.c_str(), (long)x.current, name.c_str(),
           (long)x.peak, name.c_str(), (long)x.allocated, name.c_str(), (long)x.freed);
  };
  auto three = [&](const std::string& name, const auto& x) { for (int i = 0; i < 3; i++) one(name + "." + pools[i], x[i]); };
  three("allocation", s.allocation); three("segment", s.segment); three("active", s.active);
  three("inactive_split", s.inactive_split); three("allocated_bytes", s.allocated_bytes); three("reserved_bytes", s.reserved_bytes);
  three("active_bytes", s.active_bytes); three("inactive_split_bytes", s.inactive_split_bytes); three("requested_bytes", s.requested_bytes);
  one("oversize_allocations", s.oversize_allocations); one("oversize_segments", s.oversize_segments);
  printf("S num_alloc_retries %ld\nS num_ooms %ld\nS num_sync_all_streams %ld\nS num_device_alloc %ld\nS num_device_free %ld\nS num_oom_rejections %ld\n",
         (long)s.num_alloc_retries, (long)s.num_ooms, (long)s.num_sync_all_streams, (long)s.num_device_alloc, (long)s.num_device_free,
         (long)s.num_oom_rejections);
  fflush(stdout);
  _Exit(0);
}
