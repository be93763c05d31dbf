#include <cuda_runtime_api.h>
#include <cuda.h>
#include <cstring>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
static size_t TOTAL(){static size_t t=getenv("FAKE_TOTAL")?strtoull(getenv("FAKE_TOTAL"),0,10):(80ull<<30);return t;}
static size_t used=0; static unsigned long long bump=0x7f0000000000ull, vbump=0x600000000000ull;
static bool first_fit(){static bool f=getenv("FAKE_VA")&&std::string(getenv("FAKE_VA"))=="firstfit";return f;} static std::map<unsigned long long,size_t> live; static std::map<unsigned long long,size_t> H; static unsigned long long hn=1;
static cudaError_t last=cudaSuccess;
extern "C" {
cudaError_t cudaGetDeviceCount(int*n){*n=1;return cudaSuccess;}
cudaError_t cudaGetDevice(int*d){*d=0;return cudaSuccess;}
cudaError_t cudaSetDevice(int){return cudaSuccess;}
cudaError_t cudaDriverGetVersion(int*v){*v=13000;return cudaSuccess;}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*p,int){memset(p,0,sizeof *p);strcpy(p->name,"fake");p->totalGlobalMem=TOTAL();p->major=9;return cudaSuccess;}
cudaError_t cudaMalloc(void**p,size_t n){ size_t r=(n+((1<<21)-1))>>21<<21; if(used+r>TOTAL()){last=cudaErrorMemoryAllocation;return last;} used+=r; unsigned long long a=bump;
 if(first_fit()){ a=0x7f0000000000ull; for(auto&x:live){ if(x.first-a>=r) break; a=x.first+x.second; } } else bump+=r;
 *p=(void*)a; live[a]=r; return cudaSuccess;}
cudaError_t cudaFree(void*p){auto it=live.find((unsigned long long)p); if(it==live.end()) return cudaErrorInvalidValue; used-=it->second; live.erase(it); return cudaSuccess;}
cudaError_t cudaMemGetInfo(size_t*f,size_t*t){*f=TOTAL()-used;*t=TOTAL();return cudaSuccess;}
cudaError_t cudaGetLastError(){auto e=last;last=cudaSuccess;return e;}
const char* cudaGetErrorString(cudaError_t){return "fake error";}
const char* cudaGetErrorName(cudaError_t){return "fakeErr";}
cudaError_t cudaDeviceSynchronize(){return cudaSuccess;}
cudaError_t cudaStreamSynchronize(cudaStream_t){return cudaSuccess;}
cudaError_t cudaStreamQuery(cudaStream_t){return cudaSuccess;}
cudaError_t cudaStreamIsCapturing(cudaStream_t,cudaStreamCaptureStatus*s){*s=cudaStreamCaptureStatusNone;return cudaSuccess;}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t,cudaStreamCaptureStatus*s,unsigned long long*,cudaGraph_t*,const cudaGraphNode_t**,const cudaGraphEdgeData**,size_t*){*s=cudaStreamCaptureStatusNone;return cudaSuccess;}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*){return cudaSuccess;}
cudaError_t cudaDeviceGetStreamPriorityRange(int*a,int*b){*a=0;*b=-5;return cudaSuccess;}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t*s,unsigned,int){static long n=0x1000;*s=(cudaStream_t)(n+=16);return cudaSuccess;}
cudaError_t cudaStreamWaitEvent(cudaStream_t,cudaEvent_t,unsigned){return cudaSuccess;}
// An event is the number of its record; it is done if that is not above what was told to be done, or was told to be done itself.
unsigned long long cudaFakeRecorded=0, cudaFakeDone=0; int cudaFakeAuto=1;
static std::set<unsigned long long> finished;
void cudaFakeFinish(unsigned long long n){finished.insert(n);}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*e,unsigned){*e=(cudaEvent_t)new unsigned long long(0);return cudaSuccess;}
cudaError_t cudaEventDestroy(cudaEvent_t){return cudaSuccess;}
cudaError_t cudaEventRecord(cudaEvent_t e,cudaStream_t){*(unsigned long long*)e=++cudaFakeRecorded;return cudaSuccess;}
cudaError_t cudaEventQuery(cudaEvent_t e){auto n=*(unsigned long long*)e; if(!cudaFakeAuto && n>cudaFakeDone && !finished.count(n)){last=cudaErrorNotReady;return last;} return cudaSuccess;}
cudaError_t cudaEventSynchronize(cudaEvent_t){return cudaSuccess;}
cudaError_t cudaEventElapsedTime(float*f,cudaEvent_t,cudaEvent_t){*f=0;return cudaSuccess;}
#define STUB(n) cudaError_t n(){fprintf(stderr,"STUB " #n "\n");return cudaErrorNotSupported;}
CUresult f_reserve(CUdeviceptr*p,size_t n,size_t,CUdeviceptr,unsigned long long){*p=vbump;vbump+=(n+(1ull<<21)-1)>>21<<21;return CUDA_SUCCESS;}
CUresult f_afree(CUdeviceptr,size_t){return CUDA_SUCCESS;}
CUresult f_create(CUmemGenericAllocationHandle*h,size_t n,const CUmemAllocationProp*,unsigned long long){ if(used+n>TOTAL()) return CUDA_ERROR_OUT_OF_MEMORY; used+=n; H[hn]=n; *h=hn++; return CUDA_SUCCESS;}
CUresult f_release(CUmemGenericAllocationHandle h){used-=H[h];H.erase(h);return CUDA_SUCCESS;}
CUresult f_map(CUdeviceptr,size_t,size_t,CUmemGenericAllocationHandle,unsigned long long){return CUDA_SUCCESS;}
CUresult f_unmap(CUdeviceptr,size_t){return CUDA_SUCCESS;}
CUresult f_access(CUdeviceptr,size_t,const CUmemAccessDesc*,size_t){return CUDA_SUCCESS;}
CUresult f_attr(int*v,CUdevice_attribute,CUdevice){*v=0;return CUDA_SUCCESS;}
CUresult f_any(){return CUDA_SUCCESS;}
CUresult f_errstr(CUresult,const char**s){*s="fake";return CUDA_SUCCESS;}
cudaError_t cudaGetDriverEntryPointByVersion(const char*sym,void**fn,unsigned,unsigned long long,cudaDriverEntryPointQueryResult*q){ std::string s=sym; void*f=(void*)f_any;
 if(s=="cuMemAddressReserve")f=(void*)f_reserve; else if(s=="cuMemAddressFree")f=(void*)f_afree; else if(s=="cuMemCreate")f=(void*)f_create; else if(s=="cuMemRelease")f=(void*)f_release; else if(s=="cuMemMap")f=(void*)f_map; else if(s=="cuMemUnmap")f=(void*)f_unmap; else if(s=="cuMemSetAccess")f=(void*)f_access; else if(s=="cuDeviceGetAttribute")f=(void*)f_attr; else if(s=="cuGetErrorString")f=(void*)f_errstr;
 *fn=f; if(q)*q=cudaDriverEntryPointSuccess; return cudaSuccess;}
}
